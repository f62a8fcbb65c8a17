"""The engine's own 3x3 convolution against BlockPad and a plain convolution in float32, on a GPU and as C++."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segstream.blocks import Grid
from segstream.blocks.tiles import pad
from segstream.engines import cuda_network
from segstream.engines.cuda_conv3x3 import Shape, conv3x3, prepack
from segstream.engines.cuda_glue import Layout
from segstream.engines.cuda_network import small_levels
from segstream.engines.cuda_weights import Packer
from segstream.kernels.launcher import problem
from segstream.models.resnet import BasicBlock

PLAIN = Shape(n=64, wgmma=False)


def make_grid(rows: int, columns: int, share: float, seed: int = 1) -> Grid:
    generator = torch.Generator().manual_seed(seed)
    high = torch.zeros(rows * columns, dtype=torch.bool)
    high[torch.randperm(rows * columns, generator=generator)[: round(share * rows * columns)]] = True
    return Grid(high.view(1, rows, columns), 128)


def near_table(grid: Grid) -> Tensor:
    """What lies around each tile, as kernels/common.cuh describes it: int32 [T, 8]."""
    _, rows, columns = grid.shape
    first, table = grid.first_tile()[0], []
    order = [
        (y, x) for high in (True, False) for y in range(rows) for x in range(columns) if grid.high[0, y, x] == high
    ]
    places = [(2 * y + i // 2, 2 * x + i % 2, True) for y, x in order if grid.high[0, y, x] for i in range(4)]
    places += [(y, x, False) for y, x in order if not grid.high[0, y, x]]
    for ty, tx, high in places:
        per_block = 2 if high else 1
        for dy, dx in [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]:
            y, x = ty + dy, tx + dx
            if not (0 <= y < per_block * rows and 0 <= x < per_block * columns):
                table.append(-1)
                continue
            gy, gx, quarter = y // per_block, x // per_block, 2 * (y % 2) + x % 2
            other = int(first[gy, gx])
            if not grid.high[0, gy, gx]:
                table.append(other * 8 + (4 + quarter if high else 0))
            elif not high:
                table.append(other * 8 + 1)
            else:
                table.append((other + quarter) * 8 + (2 if (gy, gx) == (ty // 2, tx // 2) else 0))
    return torch.tensor(table, dtype=torch.int32).view(-1, 8)


def mean_rows(x: Tensor, n_high: int) -> Tensor:
    """The mean rows of tiles [T, C, q, q]: [n_high * q * q, C]."""
    _, c, q, _ = x.shape
    blocks = x[: 4 * n_high].reshape(n_high, 2, 2, c, q, q).permute(0, 3, 1, 4, 2, 5).reshape(n_high, c, 2 * q, 2 * q)
    return F.avg_pool2d(blocks, 2).permute(0, 2, 3, 1).reshape(-1, c)


def rows(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()


def check(
    device: torch.device,
    grid: Grid,
    q: int,
    channels: tuple[int, int],
    shape: Shape,
    *,
    stride: int = 1,
    means: bool = False,
    padded: bool = False,
    skip_channels: int = 0,
    full: bool = True,
) -> None:
    """Run one layer with everything that can follow it, or bare (not `full`), and hold it against plain torch."""
    torch.manual_seed(0)
    (inputs, outputs), t, n_high, side = channels, grid.n_tiles, grid.n_high, stride * q
    x = torch.randn(t, inputs, side, side).half().float()
    weight = (torch.randn(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5).half()
    shortcut = (torch.randn(skip_channels, outputs) / 10).half() if skip_channels else None
    bias, other = torch.randn(outputs).half(), torch.randn(t, outputs, q, q).half()
    skip = torch.randn(t, skip_channels, 2 * q, 2 * q).half() if skip_channels else None
    scale, shift = torch.rand(outputs) + 0.5, torch.randn(outputs)
    halo = pad(x, grid, 1).half().float()
    expected = F.conv2d(halo, weight.float(), bias.float(), stride)
    if skip is not None and shortcut is not None:
        expected += F.conv2d(skip.float(), shortcut.float().t()[:, :, None, None], None, 2)
    if full:
        expected = F.relu(expected + other.float())
    given = rows(halo if padded else x)
    if means:
        given = torch.cat([given, mean_rows(x, n_high)])
    out, activated = conv3x3(
        given.half().to(device),
        prepack(weight, shortcut).to(device),
        bias.to(device),
        near_table(grid).to(device),
        q,
        shape=shape,
        stride=stride,
        n_high=n_high,
        means=means,
        padded=padded,
        relu=full,
        other=rows(other).to(device) if full else None,
        skip=None if skip is None else rows(skip).to(device),
        norm=(scale.to(device), shift.to(device)) if full else None,
    )
    out = out.float().cpu()
    got = out[: t * q * q].view(t, q, q, outputs).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, expected, rtol=3e-3, atol=1e-2)
    if q == 1 or q % 2 == 0:
        torch.testing.assert_close(out[t * q * q :], mean_rows(got, n_high), rtol=2e-3, atol=1e-3)
    if activated is not None:
        wanted = F.relu(rows(got) * scale + shift)
        torch.testing.assert_close(activated.float().cpu(), wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("q", [1, 2, 4])
def test_grids(device: torch.device, q: int, share: float) -> None:
    check(device, make_grid(3, 4, share), q, (64, 64), PLAIN)


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("means", [False, True])
def test_stride_two(device: torch.device, q: int, means: bool) -> None:
    check(device, make_grid(3, 3, 0.5), q, (64, 64), PLAIN, stride=2, means=means)


@pytest.mark.parametrize("q", [1, 4])
def test_mean_rows(device: torch.device, q: int) -> None:
    check(device, make_grid(3, 3, 0.5), q, (64, 64), PLAIN, means=True)


def test_padded_before_and_bare(device: torch.device) -> None:
    check(device, make_grid(2, 2, 0.5), 2, (64, 128), PLAIN, padded=True, full=False)


def test_shortcut(device: torch.device) -> None:
    check(device, make_grid(2, 3, 0.5), 2, (64, 64), PLAIN, means=True, skip_channels=128)


@pytest.mark.parametrize("high", [0.0, 1.0])
def test_one_block_of_odd_sides(device: torch.device, high: float) -> None:
    check(device, make_grid(1, 1, high), 3, (64, 64), PLAIN)


def test_residual_blocks(device: torch.device) -> None:
    """Two residual blocks in a row as the engine runs them, the first with a 1x1 stride-2 shortcut."""
    torch.manual_seed(4)
    grid = make_grid(2, 2, 0.5)
    blocks = [BasicBlock(64, 128, 2).eval(), BasicBlock(128, 128, 1).eval()]
    bn = torch.nn.BatchNorm2d(128).eval()
    for norm in [module for block in [*blocks, bn] for module in block.modules()]:
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.normal_(0, 0.1)
    packer = Packer(device)
    layout = Layout(
        blocks=torch.zeros(1, 2, 2, dtype=torch.int32, device=device),
        tiles=torch.zeros(grid.n_tiles, dtype=torch.int32, device=device),
        rows=2,
        columns=2,
        n_tiles=grid.n_tiles,
        side=(64, 64),
        fine=True,
        seamless=True,
        whole=False,
        near=near_table(grid).to(device),
    )
    x = torch.randn(grid.n_tiles, 64, 8, 8).half()
    with torch.inference_mode():
        expected = x.float()
        for block in blocks:
            expected = block(expected, grid)
        packed = [packer.block(block, True) for block in blocks]
        given = x.permute(0, 2, 3, 1).contiguous().to(device)
        got, activated = small_levels(given, packed, [None, packer.norm(bn)], layout)
    torch.testing.assert_close(got.permute(0, 3, 1, 2).float().cpu(), expected, rtol=5e-3, atol=2e-2)
    wanted = F.relu(bn(got.permute(0, 3, 1, 2).float().cpu()))
    torch.testing.assert_close(activated[0].permute(0, 3, 1, 2).float().cpu(), wanted, rtol=2e-3, atol=3e-3)


SHAPES = [
    PLAIN,
    Shape(wgmma=False),
    Shape(wgmma=False, split=4, near=False),
    Shape(),
    Shape(split=3, blocks=2, bulk=True),
    Shape(split=6, stages=2, blocks=2, bulk=True),
    Shape(split=2, stages=4, overlap=1, bulk=True),
    Shape(split=8, stages=3, overlap=1, blocks=2, bulk=True),
    Shape(m=256, split=3, stages=4, overlap=1, bulk=True),
    Shape(m=256, split=5, bulk=True),
    Shape(m=256, split=2, stages=4, overlap=1, warps=16, bulk=True),
    Shape(n=256, split=4, stages=4, overlap=1, bulk=True),
]


@pytest.mark.cuda
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape: Shape) -> None:
    """Every way to cut the work, on layers of the network's kinds."""
    if problem():
        pytest.skip(str(problem()))
    device = torch.device("cuda")
    if shape.split > 1 and torch.cuda.get_device_capability()[0] < 9:
        pytest.skip("clusters need compute capability 9.0")
    grid = make_grid(5, 6, 0.4)
    check(device, grid, 4, (256, 256), shape, means=True)
    check(device, grid, 4, (256, 256), shape)
    check(device, grid, 2, (512, 512), shape, means=True, skip_channels=256)
    check(device, grid, 2, (256, 512), shape, stride=2, means=True)
    check(device, grid, 1, (512, 512), shape)
    check(device, make_grid(4, 4, 1.0), 8, (128, 256), shape, padded=True, full=False)


@pytest.mark.cuda
@pytest.mark.parametrize("first_stride", [8, 16])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_network(share: float, first_stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole network with it, from a stride on, against float32."""
    if problem() or torch.cuda.get_device_capability()[0] < 8:
        pytest.skip(str(problem() or "made for tensor cores of compute capability 8.0 and later"))
    monkeypatch.setattr(cuda_network, "serves", lambda device, stride, q: stride >= first_stride and q <= 8)
    path = Path(__file__).resolve().parents[1] / "segstream" / "engines" / "test_cuda_network.py"
    spec = importlib.util.spec_from_file_location("network_tests", path)
    assert spec is not None and spec.loader is not None
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    tests.compare(tests.make_network("resnet18"), tests.make_image(256, 512), 128, share, torch.device("cuda"))
