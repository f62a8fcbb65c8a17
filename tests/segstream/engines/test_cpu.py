"""The CPU engine against the plain torch engine, which runs the reference network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segstream.blocks import Grid
from segstream.engines.base import Choice
from segstream.engines.choose import make_engine
from segstream.engines.cpu import CpuEngine, unsupported
from segstream.engines.cpu_network import RowNetwork
from segstream.engines.cpu_ops import Conv3x3
from segstream.engines.torch_engine import TorchEngine
from segstream.geometry import fit
from segstream.models import Model, SwiftNet
from segstream.models.registry import untrained_model
from segstream.scenes import render


@pytest.fixture(scope="module")
def model() -> Model:
    return untrained_model()


@pytest.fixture(scope="module")
def network(model: Model) -> RowNetwork:
    return RowNetwork(model.network)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def compare(network: RowNetwork, reference: SwiftNet, high: NDArray[np.bool_], block: int) -> None:
    generator = torch.Generator().manual_seed(high.size)
    x = torch.randn(1, 3, high.shape[0] * block, high.shape[1] * block, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = reference(x, Grid(torch.from_numpy(high)[None], block))
        found = network(x, high, block)
    assert found.shape == expected.shape
    assert relative_error(found, expected) < 2e-5
    assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.999


@pytest.mark.parametrize("block", [64, 128, 256])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.3, 0.0])
def test_equals_the_reference_network_on_random_grids(
    model: Model, network: RowNetwork, block: int, share: float
) -> None:
    rng = np.random.default_rng(int(10 * share) + block)
    rows, columns = {64: (2, 4), 128: (2, 2), 256: (1, 2)}[block]
    compare(network, model.network, rng.random((rows, columns)) < share, block)


@pytest.mark.parametrize("high", [[[True]], [[False]], [[True, False]], [[False], [True], [False]]])
def test_equals_the_reference_network_on_the_smallest_grids(
    model: Model, network: RowNetwork, high: list[list[bool]]
) -> None:
    compare(network, model.network, np.array(high), 64)


def test_all_high_equals_the_dense_network(model: Model, network: RowNetwork) -> None:
    x = torch.randn(1, 3, 128, 192, generator=torch.Generator().manual_seed(1))
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert relative_error(network(x, np.ones((2, 3), dtype=bool), 64), model.network(x)) < 2e-5


def test_nineteen_classes() -> None:
    torch.manual_seed(3)
    reference = SwiftNet("resnet18", 19).eval()
    compare(RowNetwork(reference), reference, np.array([[True, False, False], [False, False, True]]), 64)


@pytest.mark.parametrize("high", [[[True, False, False], [False, False, True]], [[False]], [[True, True]]])
@pytest.mark.parametrize("block", [64, 128])
def test_subpixel(high: list[list[bool]], block: int) -> None:
    reference = untrained_model(subpixel=True).network
    compare(RowNetwork(reference), reference, np.array(high), block)


# Odd numbers of high blocks, with which some low patches are computed, to fill up; and an even one, with which none is.
SHALLOW_GRIDS = {
    "all low": [[False, False, False], [False, False, False]],
    "one high": [[False, True, False], [False, False, False]],
    "two high": [[True, False, False], [False, False, True]],
    "three high": [[True, False, True], [False, True, False]],
    "all high": [[True, True, True], [True, True, True]],
}


@pytest.mark.parametrize("shallow", [(4,), (3, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("block", [64, 128])
@torch.inference_mode()
def test_shallow(shallow: tuple[int, ...], block: int) -> None:
    reference = untrained_model(shallow=shallow).network
    network = RowNetwork(reference)
    for high in SHALLOW_GRIDS.values():
        for buffer in network.work.buffers.values():
            buffer.fill_(float("nan"))  # what is not computed must not be read
        compare(network, reference, np.array(high), block)


@pytest.mark.parametrize("high", [SHALLOW_GRIDS["all low"], SHALLOW_GRIDS["three high"]])
def test_shallow_and_subpixel(high: list[list[bool]]) -> None:
    reference = untrained_model(subpixel=True, shallow=(3, 4)).network
    compare(RowNetwork(reference), reference, np.array(high), 64)


@torch.inference_mode()
def test_shallow_computes_high_patches_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network = RowNetwork(untrained_model(shallow=(1, 3)).network)
    counts: list[int] = []
    plain = Conv3x3.__call__

    def counted(*args: Any, patches: int | None = None, **options: Any) -> torch.Tensor:
        if patches is not None:
            counts.append(patches)
        return plain(*args, patches=patches, **options)

    monkeypatch.setattr(Conv3x3, "__call__", counted)
    x = torch.zeros(1, 3, 128, 192).contiguous(memory_format=torch.channels_last)
    network(x, np.array(SHALLOW_GRIDS["three high"]), 64)
    assert counts == [48, 48, 16, 16]  # of 12 high tiles of 4 patches, then of one patch


def test_a_batch_norm_with_negative_scales() -> None:
    """A negative scale can be folded into a convolution but not moved across a ReLU."""
    torch.manual_seed(4)
    reference = SwiftNet("resnet18", 5).eval()
    for module in reference.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, -1, 1)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    compare(RowNetwork(reference), reference, np.array([[True, False], [False, True]]), 64)


def test_grids_that_change_leave_nothing_behind(model: Model, network: RowNetwork) -> None:
    rng = np.random.default_rng(5)
    for share in (0.9, 0.1, 0.0, 1.0, 0.4):
        compare(network, model.network, rng.random((2, 3)) < share, 64)


@pytest.mark.parametrize(
    ("frame", "size", "policy"),
    [
        ((180, 240), (240, 180), "heuristic"),
        ((180, 240), (240, 180), "learned"),
        ((180, 240), (240, 180), "random"),
        ((270, 480), (256, 144), "heuristic"),
        ((33, 47), (64, 64), "high"),
        ((255, 511), (128, 64), "low"),
    ],
)
def test_engine_equals_the_torch_engine(
    model: Model, frame: tuple[int, int], size: tuple[int, int], policy: str
) -> None:
    image, _ = render(3, frame[1], frame[0])
    geometry = fit(frame, size, 64)
    choice = Choice(policy, 0.05 if policy == "heuristic" else 0.5, 0.5 if policy == "heuristic" else 1.0)
    expected = TorchEngine(model).infer(image, geometry, choice)
    found = CpuEngine(model).infer(image, geometry, choice)
    assert (found.blocks == expected.blocks).all()
    assert found.labels.shape == frame and found.labels.dtype == np.uint8
    assert (found.labels == expected.labels).mean() >= 0.999
    assert set(found.timings) == set(expected.timings)


def test_runs_after_it_was_closed(model: Model) -> None:
    engine = CpuEngine(model)
    image, _ = render(0, 96, 64)
    geometry = fit((64, 96), (96, 64), 64)
    before = engine.infer(image, geometry, Choice("high", 0.5)).labels
    engine.close()
    assert (engine.infer(image, geometry, Choice("high", 0.5)).labels == before).all()


@pytest.mark.parametrize(("encoder", "seamless"), [("efficientnet-lite1", True), ("resnet18", False)])
def test_other_networks_run_on_plain_torch_and_it_is_said(
    encoder: str, seamless: bool, caplog: pytest.LogCaptureFixture
) -> None:
    model = untrained_model(encoder)
    model.network.seamless = seamless
    assert unsupported(model) is not None
    with caplog.at_level("WARNING", logger="segstream"):
        engine = make_engine(model, "cpu")
    assert isinstance(engine, TorchEngine)
    assert "plain torch" in caplog.text


def test_the_default_network_runs_on_this_engine(model: Model) -> None:
    assert isinstance(make_engine(model, "cpu"), CpuEngine)
