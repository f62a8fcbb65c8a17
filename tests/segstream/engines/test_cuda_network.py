"""The CUDA engine's network against the plain one in float32 on the same weights.

Each test runs twice: on a GPU (mark cuda), and with the kernels compiled as C++ on the CPU, at a small size. Logits lie
within 1e-2 of the reference relative to their norm: half precision through some thirty layers. 99.5 % of the pixels
get the same class, with the shipped model on real frames and with random weights on drawn pictures.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from segstream.blocks import Grid
from segstream.engines import cuda_glue as glue
from segstream.engines.cuda_network import run
from segstream.engines.cuda_policy import frame_norm, policy_scores
from segstream.engines.cuda_weights import Conv, Weights, pack, pack_policy
from segstream.engines.torch_engine import to_labels
from segstream.geometry import Geometry, fit, to_input
from segstream.kernels import launcher
from segstream.kernels.ops import grid_tables
from segstream.models import load_model
from segstream.models.policy_net import PolicyNet
from segstream.models.spec import IMAGENET_MEAN, IMAGENET_STD
from segstream.models.swiftnet import SwiftNet
from segstream.scenes import render
from tests.gpu import need_gpu

EQUAL = 0.995  # of the pixels get the same class


def make_network(
    encoder: str, seamless: bool = True, classes: int = 19, subpixel: bool = False, shallow: tuple[int, ...] = ()
) -> SwiftNet:
    """A network whose batch norms are not the identity."""
    torch.manual_seed(3)
    network = SwiftNet(encoder, classes, seamless, subpixel, shallow).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in ((module.running_var, 0.5, 1.5), (module.weight.data, 0.5, 1.5)):
                assert tensor is not None
                tensor.uniform_(low, high)
            for tensor in (module.running_mean, module.bias.data):
                assert tensor is not None
                tensor.normal_(0, 0.1)
    return network


def make_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with smooth and busy parts, uint8 [H, W, 3]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([120 + 100 * np.sin(x / 37 + k) * np.cos(y / 23 - k) for k in range(3)], -1)
    noise = generator.normal(0, 40, (height, width, 3)) * (x > width // 2)[..., None]
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def make_grid(rows: int, columns: int, share: float, block: int, seed: int = 1) -> Grid:
    generator = torch.Generator().manual_seed(seed)
    high = torch.zeros(rows * columns, dtype=torch.bool)
    high[torch.randperm(rows * columns, generator=generator)[: round(share * rows * columns)]] = True
    return Grid(high.view(1, rows, columns), block)


def layout_of(grid: Grid, device: torch.device, seamless: bool) -> glue.Layout:
    blocks, tiles = grid_tables(grid.high.to(device), grid.place.to(device), grid.n_high)
    _, rows, columns = grid.shape
    side = grid.block // 2
    return glue.Layout(
        blocks, tiles, rows, columns, grid.n_tiles, (side, side), fine=grid.n_high > 0, seamless=seamless, whole=False
    )


def by_the_library(weights: Weights) -> Weights:
    """The same for 3x3 layers that all run in the library, as those of 64 channels do where there is no Hopper."""

    def bare(conv: Conv) -> Conv:
        return replace(conv, tiled=None, matrix=None)

    levels = tuple(tuple(replace(b, convs=tuple(map(bare, b.convs))) for b in level) for level in weights.levels)
    return replace(weights, levels=levels, upsample=tuple(replace(u, blend=bare(u.blend)) for u in weights.upsample))


def engine_logits(
    network: SwiftNet, image: np.ndarray, geometry: Geometry, grid: Grid | None, device: torch.device, library: bool
) -> Tensor:
    weights = pack(network, device)
    if library:
        weights = by_the_library(weights)
    norm = frame_norm(IMAGENET_MEAN, IMAGENET_STD, device)
    frame = torch.from_numpy(image).to(device)
    layout = glue.dense_layout(geometry.network, device) if grid is None else layout_of(grid, device, network.seamless)
    logits = run(frame, norm, weights, layout)
    labels = torch.full(geometry.frame, 255, dtype=torch.uint8, device=device)
    glue.frame_labels(logits, labels, geometry.content, weights.n_classes)
    logits = logits[..., : weights.n_classes].permute(2, 0, 1)[None].float().cpu()
    assert torch.equal(labels.cpu(), torch.from_numpy(to_labels(logits, geometry))), "labels do not follow from logits"
    return logits


def compare(
    network: SwiftNet,
    image: np.ndarray,
    block: int,
    share: float | None,
    device: torch.device,
    library: bool = False,
) -> None:
    """Hold the engine's logits and labels against the network in float32 on the same grid.

    Args:
        image: uint8 [H, W, 3].
        share: of high blocks, placed at random; None for the dense network.
        library: run all 3x3 layers in the library.
    """
    height, width = image.shape[:2]
    geometry = fit((height, width), (width, height), block, exact=True)
    grid = None if share is None else make_grid(geometry.rows, geometry.columns, share, block)
    precise = torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False)
    with torch.inference_mode(), precise:
        x = to_input(image, geometry, IMAGENET_MEAN, IMAGENET_STD).to(device)
        placed = None if grid is None else Grid(grid.high.to(device), block)
        expected = network.to(device)(x, placed).cpu()
        got = engine_logits(network, image, geometry, grid, device, library)
    error = float((got - expected).norm() / expected.norm())
    equal = (to_labels(got, geometry) == to_labels(expected, geometry)).mean()
    print(f"share {share} block {block} {width}x{height}: relative error {error:.2e}, equal labels {equal:.4%}")
    assert error < 1e-2
    assert equal >= EQUAL


@pytest.mark.parametrize("subpixel", [False, True])
@pytest.mark.parametrize("share", [None, 0.0, 0.4, 1.0])
def test_resnet18(device: torch.device, share: float | None, subpixel: bool) -> None:
    compare(make_network("resnet18", subpixel=subpixel), make_image(128, 192), 64, share, device)


@pytest.mark.parametrize(("share", "subpixel"), [(0.0, False), (0.5, False), (0.5, True)])
def test_block_local_interpolation(device: torch.device, share: float, subpixel: bool) -> None:
    network = make_network("resnet18", seamless=False, subpixel=subpixel)
    compare(network, make_image(128, 128), 64, share, device)


@pytest.mark.parametrize(("classes", "subpixel"), [(40, False), (40, True), (11, True)])
def test_frames_that_do_not_fill_the_blocks(device: torch.device, classes: int, subpixel: bool) -> None:
    compare(make_network("resnet18", classes=classes, subpixel=subpixel), make_image(100, 148), 64, 0.5, device)


@pytest.mark.parametrize(
    ("shallow", "share"),
    [(stages, share) for stages in ((4,), (3, 4), (1, 2, 3, 4)) for share in (0.0, 0.5)]
    + [((1, 2, 3, 4), None), ((1, 2, 3, 4), 1.0)],
)
def test_low_blocks_of_fewer_layers(device: torch.device, shallow: tuple[int, ...], share: float | None) -> None:
    compare(make_network("resnet18", shallow=shallow), make_image(128, 192), 64, share, device)


@pytest.mark.parametrize(("share", "subpixel"), [(0.0, False), (0.5, False), (0.5, True), (1.0, False)])
def test_low_blocks_of_fewer_layers_and_block_local_interpolation(
    device: torch.device, share: float, subpixel: bool
) -> None:
    network = make_network("resnet18", seamless=False, subpixel=subpixel, shallow=(1, 2, 3, 4))
    compare(network, make_image(128, 128), 64, share, device)


def test_low_blocks_of_fewer_layers_in_frames_that_do_not_fill_the_blocks(device: torch.device) -> None:
    network = make_network("resnet18", classes=11, subpixel=True, shallow=(1, 2, 3, 4))
    compare(network, make_image(100, 148), 64, 0.5, device)


@pytest.mark.parametrize(("shallow", "share"), [((1, 2, 3, 4), 0.0), ((1, 2, 3, 4), 0.5), ((3,), 0.25)])
def test_low_blocks_of_fewer_layers_of_resnet50(device: torch.device, shallow: tuple[int, ...], share: float) -> None:
    compare(make_network("resnet50", shallow=shallow), make_image(128, 128), 64, share, device)


@pytest.mark.parametrize(("shallow", "share"), [((2, 4), 0.4), ((1, 2, 3, 4), 0.0), ((1, 2, 3, 4), 0.4)])
def test_low_blocks_of_fewer_layers_in_the_library(
    device: torch.device, shallow: tuple[int, ...], share: float
) -> None:
    compare(make_network("resnet18", shallow=shallow), make_image(128, 192), 64, share, device, library=True)


def test_low_blocks_of_fewer_layers_in_blocks_of_128(device: torch.device) -> None:
    compare(make_network("resnet18", shallow=(1, 2, 3, 4)), make_image(128, 256), 128, 0.5, device)


def test_all_layers_in_the_library(device: torch.device) -> None:
    compare(make_network("resnet18"), make_image(128, 192), 64, 0.4, device, library=True)


def test_blocks_of_128(device: torch.device) -> None:
    compare(make_network("resnet18"), make_image(128, 256), 128, 0.5, device)


SHIPPED = "swiftnet-rn18-camvid"


@pytest.fixture(scope="module")
def shipped() -> SwiftNet:
    return load_model(SHIPPED).network


def real_frame(shared: Path, number: int) -> np.ndarray:
    """A picture of CamVid's validation part, uint8 [360, 480, 3]."""
    files = sorted((shared / "camvid" / "val").glob("*"))
    if not files:
        pytest.skip("CamVid is not here")
    image = cv2.imread(str(files[number * len(files) // 10]))
    assert image is not None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def test_shipped_model_on_a_part_of_a_real_frame(device: torch.device, shipped: SwiftNet, shared: Path) -> None:
    compare(shipped, np.ascontiguousarray(real_frame(shared, 2)[100:292, 100:356]), 64, 0.4, device)


def test_shipped_model_on_a_drawn_street(device: torch.device, shipped: SwiftNet) -> None:
    compare(shipped, render(40, 256, 128)[0], 64, 0.5, device)


@pytest.mark.cuda
@pytest.mark.parametrize("share", [None, 0.0, 0.2, 0.4, 1.0])
@pytest.mark.parametrize(("width", "height", "block"), [(480, 360, 64), (1280, 720, 128)])
def test_shipped_model_on_real_frames(
    shipped: SwiftNet, shared: Path, width: int, height: int, block: int, share: float | None
) -> None:
    need_gpu()
    for number in (0, 3, 6, 9) if width == 480 else (1, 7):
        image = cv2.resize(real_frame(shared, number), (width, height), interpolation=cv2.INTER_CUBIC)
        compare(shipped, image, block, share, torch.device("cuda"))


@pytest.mark.cuda
@pytest.mark.parametrize("subpixel", [False, True])
@pytest.mark.parametrize("share", [None, 0.0, 0.4, 1.0])
def test_shipped_model_on_large_drawn_streets(shipped: SwiftNet, share: float | None, subpixel: bool) -> None:
    need_gpu()
    network = copy.deepcopy(shipped)
    if not subpixel:  # high and low blocks then share the last layer of the high ones
        network.subpixel = None
    for index in (0, 500):
        compare(network, render(index, 2048, 1024)[0], 128, share, torch.device("cuda"))


@pytest.mark.cuda
@pytest.mark.parametrize(("share", "shallow"), [(None, ()), (0.4, ()), (0.4, (3, 4)), (0.4, (1, 2, 3, 4))])
def test_resnet50(share: float | None, shallow: tuple[int, ...]) -> None:
    need_gpu()
    compare(make_network("resnet50", shallow=shallow), make_image(256, 384), 128, share, torch.device("cuda"))


@pytest.mark.cuda
@pytest.mark.parametrize("block", [64, 128])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("shallow", [(4,), (3, 4), (1, 2, 3, 4)])
def test_low_blocks_of_fewer_layers_in_large_frames(shallow: tuple[int, ...], share: float, block: int) -> None:
    need_gpu()
    network = make_network("resnet18", subpixel=True, shallow=shallow)
    compare(network, make_image(720, 1280), block, share, torch.device("cuda"))


@pytest.mark.cuda
@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
@pytest.mark.parametrize("library", [False, True])
def test_low_blocks_of_fewer_layers_where_kernels_start_early(encoder: str, library: bool) -> None:
    """In a graph on a stream of our own, where they do, again and again, against the stream where none does."""
    need_gpu()
    device, image = torch.device("cuda"), make_image(512, 1024)
    geometry = fit((512, 1024), (1024, 512), 64, exact=True)
    weights = pack(make_network(encoder, shallow=(1, 2, 3, 4)), device)
    weights = by_the_library(weights) if library else weights
    norm, frame = frame_norm(IMAGENET_MEAN, IMAGENET_STD, device), torch.from_numpy(image).to(device)
    layout = layout_of(make_grid(geometry.rows, geometry.columns, 0.3, 64), device, seamless=True)
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=False):
        expected = run(frame, norm, weights, layout)
        stream = launcher.new_stream(torch.cuda.current_device())
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            run(frame, norm, weights, layout)
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                got = run(frame, norm, weights, layout)
            for _ in range(20):
                graph.replay()
                stream.synchronize()
                # The libraries may take other kernels than on the other stream; what read too early is far off.
                torch.testing.assert_close(got, expected, rtol=0, atol=1e-2 * float(expected.abs().max()))


@pytest.mark.parametrize(("width", "context", "detail"), [(16, 0, None), (64, 2, None), (64, 0, 0.7)])
def test_policy(device: torch.device, width: int, context: int, detail: float | None) -> None:
    torch.manual_seed(5)
    policy = PolicyNet(width, context, detail).eval()
    geometry = fit((120, 180), (180, 120), 64, exact=True)
    image = make_image(120, 180)
    with torch.inference_mode():
        expected = policy(to_input(image, geometry, IMAGENET_MEAN, IMAGENET_STD), 64).sigmoid()[0]
        norm = frame_norm(IMAGENET_MEAN, IMAGENET_STD, device)
        frame, convs = torch.from_numpy(image).to(device), pack_policy(policy, device)
        scores = policy_scores(frame, norm, convs, geometry, policy.detail_weight)
    torch.testing.assert_close(scores.cpu(), expected, rtol=0, atol=3e-3)
