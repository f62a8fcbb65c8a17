"""The engine's own 3x3 convolution against BlockPad and a plain convolution in float32, on a GPU and as C++."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segstream.blocks import Grid
from segstream.blocks.tiles import pad
from segstream.engines.cuda_conv3x3 import Shape, conv3x3, prepack

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
        shape,
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


SHAPES = [
    PLAIN,
    Shape(wgmma=False),
    Shape(wgmma=False, split=4, near=False),
    Shape(),
    Shape(split=3, stages=4),
    Shape(split=5, blocks=2),
    Shape(split=8),
    Shape(m=256, split=3),
    Shape(m=256, split=2, overlap=1),
    Shape(m=192, warps=12, split=2),
    Shape(n=256, split=4),
]


@pytest.mark.cuda
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape: Shape) -> None:
    """Every way to cut the work, on layers of the network's kinds."""
    from segstream.kernels.launcher import problem

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
