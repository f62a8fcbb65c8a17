"""SwiftNet and the policy network: against the authors' tensors, and dense against blocks."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.random import PCG64, Generator

from segstream.blocks import Grid
from segstream.blocks.tiles import combine_nearest, join_tiles
from segstream.models.checkpoints import import_authors
from segstream.models.files import Model
from segstream.models.spec import ModelSpec
from segstream.models.swiftnet import ENCODERS, SwiftNet


def authors_spec(encoder: str) -> ModelSpec:
    names = tuple(f"class{i}" for i in range(19))
    return ModelSpec(
        name="authors",
        encoder=encoder,
        classes=names,
        palette=((0, 0, 0),) * 19,
        interpolation="local",
        block=128,
    )


def authors_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weights that the reference tensors were made with: drawn from the name of each parameter."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    draw = Generator(PCG64(zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        values = draw.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean"):
        values = 0.1 * draw.standard_normal(shape)
    elif len(shape) == 1 and name.endswith("weight"):
        values = draw.uniform(0.5, 1.5, shape)
    elif len(shape) == 1 and name.endswith("bias"):
        values = 0.1 * draw.standard_normal(shape)
    else:
        values = draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def write_checkpoint(shared: Path, key: str, path: Path) -> None:
    names = json.loads((shared / "reference" / "state_dict_names.json").read_text())[key]
    torch.save({"state_dict": {n: authors_tensor(n, tuple(s)) for n, s in names.items()}}, path)


@pytest.fixture(scope="module")
def authors_model(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("authors") / "rn18.pth"
    write_checkpoint(shared, "rn18", path)
    return import_authors(path, authors_spec("resnet18"))


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("case", ["case0", "case2"])
@torch.no_grad()
def test_equals_the_authors(authors_model: Model, shared: Path, case: str) -> None:
    with np.load(shared / "reference" / "swiftnet_rn18.npz") as file:
        arrays = {k.split("/")[2]: file[k] for k in file if k.startswith(f"rn18/{case}/")}
    draw = Generator(PCG64(int(arrays["seed"])))
    x = torch.from_numpy(draw.standard_normal(tuple(arrays["shape"])).astype(np.float32))
    block = int(arrays["block"])
    network, policy_net = authors_model.network, authors_model.policy_net
    assert policy_net is not None
    assert relative(network(x), torch.from_numpy(arrays["dense"])) < 1e-4
    grid = Grid(torch.from_numpy(arrays["grid"]), block)
    assert relative(network(x, grid), torch.from_numpy(arrays["blocks"])) < 1e-4
    assert relative(policy_net(x, block), torch.from_numpy(arrays["policy_logits"])[:, 0]) < 1e-4


@pytest.mark.parametrize(("key", "encoder"), [("rn50", "resnet50"), ("effl1", "efficientnet-lite1")])
@torch.no_grad()
def test_other_checkpoints_of_the_authors_load_whole(shared: Path, tmp_path: Path, key: str, encoder: str) -> None:
    write_checkpoint(shared, key, tmp_path / "file.pth")
    model = import_authors(tmp_path / "file.pth", authors_spec(encoder))
    grid = Grid(torch.tensor([[[True, False]]]), 128)
    assert model.network(torch.randn(1, 3, 128, 256), grid).isfinite().all()


@pytest.fixture(params=sorted(ENCODERS))
def network(request: pytest.FixtureRequest) -> SwiftNet:
    torch.manual_seed(0)
    network = SwiftNet(request.param, 5)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


@pytest.mark.parametrize(("rows", "columns", "block"), [(1, 2, 64), (2, 1, 128), (1, 1, 64)])
@torch.no_grad()
def test_all_high_equals_dense_and_all_low_equals_half_size(
    network: SwiftNet, rows: int, columns: int, block: int
) -> None:
    x = torch.randn(2, 3, rows * block, columns * block)
    high = torch.ones(2, rows, columns, dtype=torch.bool)
    dense = network(x)
    assert relative(network(x, Grid(high, block)), dense) < 1e-5
    half = F.interpolate(network(F.avg_pool2d(x, 2)), scale_factor=2, mode="bilinear", align_corners=False)
    assert relative(network(x, Grid(~high, block)), half) < 1e-5


@torch.no_grad()
def test_subpixel_gives_each_low_pixel_four_and_leaves_high_blocks_alone() -> None:
    torch.manual_seed(0)
    network, plain = SwiftNet("resnet18", 5, subpixel=True).eval(), SwiftNet("resnet18", 5).eval()
    plain.load_state_dict(network.state_dict(), strict=False)
    x = torch.randn(1, 3, 128, 128)
    high = torch.tensor([[[True, False], [False, True]]])
    found, expected = network(x, Grid(high, 64)), plain(x, Grid(high, 64))
    is_high = high.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None].expand_as(found)
    assert relative(found[is_high], expected[is_high]) < 1e-6
    assert relative(network(x), plain(x)) == 0
    assert relative(network(x, Grid(torch.ones_like(high), 64)), plain(x)) < 1e-5

    # Of the four logits of a pixel the first is the upper left one, the last the lower right one.
    assert network.subpixel is not None
    bias = torch.arange(20.0)
    network.subpixel.weight.zero_()
    network.subpixel.bias.copy_(bias)
    low = network(x, Grid(torch.zeros_like(high), 64))
    assert low[0, 3, 6:8, 10:12].flatten().tolist() == bias[12:16].tolist()


@torch.no_grad()
def test_subpixel_can_do_what_enlarging_by_repeating_does() -> None:
    torch.manual_seed(0)
    network = SwiftNet("resnet18", 5, subpixel=True).eval()
    assert network.subpixel is not None
    network.subpixel.weight.copy_(network.logits.conv.weight.repeat_interleave(4, 0))
    network.subpixel.bias.copy_(network.logits.conv.bias.repeat_interleave(4))  # type: ignore[union-attr]
    x = torch.randn(1, 3, 64, 128)
    small = network(F.avg_pool2d(x, 2)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert relative(network(x, Grid(torch.zeros(1, 1, 2, dtype=torch.bool), 64)), small) < 1e-5


def perturbed(encoder: str, shallow: tuple[int, ...]) -> SwiftNet:
    torch.manual_seed(0)
    network = SwiftNet(encoder, 5, shallow=shallow)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


@pytest.mark.parametrize("shallow", [(4,), (2, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
@torch.no_grad()
def test_shallow_low_blocks_pass_the_first_residual_block_alone(encoder: str, shallow: tuple[int, ...]) -> None:
    network, fewer = perturbed(encoder, shallow), perturbed(encoder, ())
    x, high = torch.randn(2, 3, 64, 128), torch.ones(2, 1, 2, dtype=torch.bool)
    assert relative(network(x, Grid(high, 64)), fewer(x)) < 1e-5
    assert torch.equal(network(x), fewer(x))
    for stage in shallow:
        layers = getattr(fewer.encoder, f"layer{stage}")
        del layers[1:]
    half = F.interpolate(fewer(F.avg_pool2d(x, 2)), scale_factor=2, mode="bilinear", align_corners=False)
    assert relative(network(x, Grid(~high, 64)), half) < 1e-5


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
@torch.no_grad()
def test_a_high_block_sees_its_low_neighbours_before_the_residual_block_and_zeros_inside_it(encoder: str) -> None:
    block = perturbed(encoder, (1,)).encoder.layer1[1]  # type: ignore[index, union-attr]
    channels = 64 if encoder == "resnet18" else 256
    grid = Grid(torch.tensor([[[True, False]]]), 64)
    x = torch.randn(5, channels, 8, 8).relu()
    found = block.high_only(x, grid)  # type: ignore[operator]
    assert torch.equal(found[4:], x[4:])

    dense = combine_nearest(x, grid)  # [1, C, 16, 32], of which the right half is low
    inside = torch.zeros(1, 1, 16, 32)
    inside[..., :16] = 1

    def normed(conv: str, norm: str, y: torch.Tensor) -> torch.Tensor:
        return getattr(block, norm)(getattr(block, conv)(y))

    y = F.relu(normed("conv1", "bn1", dense)) * inside
    y = normed("conv2", "bn2", y)
    if encoder == "resnet50":
        y = normed("conv3", "bn3", F.relu(y))
    expected = F.relu(y + dense)[..., :16]
    assert relative(join_tiles(found[:4]), expected) < 1e-5


def test_what_cannot_be_shallow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shallow stages of resnet18 must be of \[1, 2, 3, 4\], not \[5\]"):
        SwiftNet("resnet18", 3, shallow=(5,))
    with pytest.raises(ValueError, match=r"shallow stages of efficientnet-lite1 must be of \[\], not \[4\]"):
        SwiftNet("efficientnet-lite1", 3, shallow=(4,))


@torch.no_grad()
def test_an_image_does_not_see_the_rest_of_its_batch(network: SwiftNet) -> None:
    x = torch.randn(2, 3, 128, 128)
    high = torch.tensor([[[True, False], [False, True]], [[False, True], [False, False]]])
    together = network(x, Grid(high, 64))
    for i in range(2):
        assert relative(network(x[i : i + 1], Grid(high[i : i + 1], 64))[0], together[i]) < 1e-5


@torch.no_grad()
def test_any_size_runs_dense() -> None:
    network = SwiftNet("resnet18", 3).eval()
    assert network(torch.zeros(1, 3, 90, 131)).shape == (1, 3, 23, 33)


def test_a_wrong_image_is_refused_with_the_size_that_would_work() -> None:
    network = SwiftNet("resnet18", 3)
    with pytest.raises(ValueError, match=r"\[1, 3, 64, 128\]"):
        network(torch.zeros(1, 3, 64, 100), Grid(torch.ones(1, 1, 2, dtype=torch.bool), 64))
    with pytest.raises(ValueError, match="one of 64, 128, 256"):
        network(torch.zeros(1, 3, 32, 64), Grid(torch.ones(1, 1, 2, dtype=torch.bool), 32))
    with pytest.raises(ValueError, match="resnet18"):
        SwiftNet("vgg", 3)


@pytest.mark.parametrize(("subpixel", "shallow"), [(False, ()), (True, ()), (True, (1, 2, 3, 4))])
def test_the_network_learns_through_the_blocks(subpixel: bool, shallow: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    network = SwiftNet("resnet18", 2, subpixel=subpixel, shallow=shallow)
    x = torch.randn(2, 3, 64, 128)
    target = (x.mean(1) > 0).long()[:, ::4, ::4]
    grid = Grid(torch.tensor([[[True, False]], [[False, True]]]), 64)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(network(x, grid), target)
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
