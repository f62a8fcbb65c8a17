"""Convolutions over rows against torch's convolution over tiles padded by BlockPad, and the tables they gather by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segstream.blocks import Grid, pad, sample
from segstream.blocks.tiles import enlarge
from segstream.engines.cpu_network import enlarging
from segstream.engines.cpu_ops import Conv3x3, Pointwise, StridedConv, Workspace, pieces, transforms
from segstream.engines.cpu_stem import Stem, sample_tiles
from segstream.engines.cpu_tables import Blocks, Level, make_level, make_pool_border, patch_order, patch_side

HIGH = np.array([[True, False, True], [False, False, True]])
GRIDS = [HIGH, np.ones((1, 2), dtype=bool), np.zeros((2, 2), dtype=bool)]


def setup(high: np.ndarray, q: int, channels: int) -> tuple[Blocks, Grid, torch.Tensor]:
    """A grid in both forms and tiles [T, C, q, q]; blocks are 2q, as if the stride were 1."""
    torch.manual_seed(q + channels)
    grid = Grid(torch.from_numpy(high)[None], 2 * q)
    return Blocks(high, 2 * q), grid, torch.randn(grid.n_tiles, channels, q, q)


def to_rows(tiles: torch.Tensor, level: Level) -> torch.Tensor:
    count, channels, q, _ = tiles.shape
    rows = torch.full((level.rows, channels), float("nan"))
    order = torch.from_numpy(patch_order(q).reshape(-1)).long()
    at = torch.arange(count)[:, None] * q * q + order[None, :]
    rows[at.reshape(-1)] = tiles.permute(0, 2, 3, 1).reshape(-1, channels)
    return level.finish(rows)


def to_tiles(rows: torch.Tensor, count: int, q: int) -> torch.Tensor:
    order = torch.from_numpy(patch_order(q).reshape(-1)).long()
    at = torch.arange(count)[:, None] * q * q + order[None, :]
    return rows[at.reshape(-1)].view(count, q, q, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("high", GRIDS)
@pytest.mark.parametrize("q", [1, 2, 4, 6, 8])
def test_3x3_convolution(high: np.ndarray, q: int) -> None:
    blocks, grid, tiles = setup(high, q, 5)
    weight, bias = torch.randn(7, 5, 3, 3), torch.randn(7)
    added = torch.randn(grid.n_tiles, 7, q, q)
    expected = F.conv2d(pad(tiles, grid, 1), weight, bias)
    level = make_level(blocks, q, False, False)
    conv, work = Conv3x3(weight, bias), Workspace()
    found = conv(to_rows(tiles, level), level, torch.empty(level.rows, 7), work, relu=False)
    assert torch.allclose(to_tiles(found, grid.n_tiles, q), expected, atol=2e-4)
    add = to_rows(added, level)
    found = conv(to_rows(tiles, level), level, torch.empty(level.rows, 7), work, add=add)
    assert torch.allclose(to_tiles(found, grid.n_tiles, q), F.relu(expected + added), atol=2e-4)
    last = Pointwise(torch.randn(3, 7), torch.randn(3))
    found = conv(to_rows(tiles, level), level, torch.empty(level.rows, 3), work, then=last)
    assert torch.allclose(
        to_tiles(found, grid.n_tiles, q),
        torch.einsum("tchw,ck->tkhw", F.relu(expected), last.weight) + last.bias[:, None, None],
        atol=2e-3,
    )


@pytest.mark.parametrize("q", [1, 2, 3, 4, 6, 8])
def test_3x3_convolution_of_high_tiles(q: int) -> None:
    """Equals that of all tiles there, and leaves alone the rows behind those of the patches that fill up."""
    blocks, grid, tiles = setup(HIGH, q, 5)
    level = make_level(blocks, q, False, False)
    rows, added = to_rows(tiles, level), to_rows(torch.randn(grid.n_tiles, 7, q, q), level)
    conv, work = Conv3x3(torch.randn(7, 5, 3, 3), torch.randn(7)), Workspace()
    expected = conv(rows, level, torch.empty(level.rows, 7), work, added)
    out = torch.full((level.rows, 7), float("nan"))
    found = conv(rows, level, out, work, added, patches=level.high_patches)
    count = 4 * grid.n_high
    assert level.high_pixels == count * q * q
    assert torch.allclose(to_tiles(found, count, q), to_tiles(expected, count, q), atol=1e-5)
    computed = level.high_patches * level.m**2
    assert level.high_pixels <= computed < level.high_pixels + 8 * level.m**2
    assert found[computed:].isnan().all()


@pytest.mark.parametrize("high", GRIDS)
@pytest.mark.parametrize("q", [2, 4, 8])
def test_3x3_convolution_of_stride_2_and_its_shortcut(high: np.ndarray, q: int) -> None:
    blocks, grid, tiles = setup(high, q, 4)
    weight, bias, short, short_bias = torch.randn(6, 4, 3, 3), torch.randn(6), torch.randn(6, 4), torch.randn(6)
    level, coarser = make_level(blocks, q, True, False), make_level(blocks, q // 2, False, False)
    out = torch.empty(coarser.rows, 6)
    conv = StridedConv(weight, bias, short, short_bias)
    shortcut = conv(to_rows(tiles, level), level.stride2, out, Workspace())
    expected = F.relu(F.conv2d(pad(tiles, grid, 1), weight, bias, 2))
    assert torch.allclose(to_tiles(out, grid.n_tiles, q // 2), expected, atol=1e-4)
    expected = F.conv2d(tiles, short[:, :, None, None], short_bias, 2)
    assert torch.allclose(to_tiles(shortcut, grid.n_tiles, q // 2), expected, atol=1e-4)


@pytest.mark.parametrize("high", GRIDS)
@pytest.mark.parametrize("q", [1, 2, 4, 8])
def test_enlarging(high: np.ndarray, q: int) -> None:
    blocks, grid, tiles = setup(high, q, 3)
    level = make_level(blocks, q, False, True)
    finer = make_level(blocks, 2 * q, False, False)
    matrix = enlarging(finer.m)
    near = to_rows(tiles, level)[level.enlarge.long()].view(-1, matrix.shape[1], 3)
    found = (matrix @ near).view(-1, 3)
    assert torch.allclose(to_tiles(found, grid.n_tiles, 2 * q), enlarge(tiles, grid), atol=1e-5)


@pytest.mark.parametrize("high", GRIDS)
@pytest.mark.parametrize("block", [64, 128])
def test_stem(high: np.ndarray, block: int) -> None:
    torch.manual_seed(block)
    grid, blocks = Grid(torch.from_numpy(high)[None], block), Blocks(high, block)
    x = torch.randn(1, 3, high.shape[0] * block, high.shape[1] * block).contiguous(memory_format=torch.channels_last)
    work = Workspace()
    assert torch.allclose(sample_tiles(x, blocks, work).permute(0, 3, 1, 2), sample(x, grid, halo=3), atol=1e-6)
    weight, bias = torch.randn(64, 3, 7, 7), torch.randn(64)
    convolved = F.relu(F.conv2d(sample(x, grid, halo=3), weight, bias, 2))
    expected = F.max_pool2d(pad(convolved, grid, 1), 3, 2)
    q = block // 8
    out = torch.empty(grid.n_tiles * q * q, 64)
    Stem(weight, bias)(x, blocks, make_pool_border(blocks, block // 4), out, work)
    assert torch.allclose(to_tiles(out, grid.n_tiles, q), expected, atol=1e-3)


@pytest.mark.parametrize("m", [2, 4])
def test_transforms_are_those_of_a_convolution(m: int) -> None:
    """In float64 Winograd's algorithm is exact to rounding, and the bias's point counts once for every output."""
    to_input, to_kernel, to_output = transforms(m)
    torch.manual_seed(m)
    x, kernel = torch.randn(m + 2, m + 2).double(), torch.randn(3, 3).double()
    found = to_output @ ((to_input @ x.reshape(-1)) * (to_kernel @ kernel.reshape(-1)))
    expected = F.conv2d(x[None, None], kernel[None, None]).reshape(-1)
    assert torch.allclose(found, expected, atol=1e-12)
    assert torch.equal(to_output[:, m + 3], torch.ones(m * m).double())


def test_winograd_in_float32_is_nearly_as_exact_as_the_direct_convolution() -> None:
    blocks, grid, tiles = setup(HIGH, 8, 128)
    tiles = F.relu(tiles)
    weight = torch.randn(128, 128, 3, 3) / 30
    level = make_level(blocks, 8, False, False)
    rows = to_rows(tiles, level)
    found = Conv3x3(weight, torch.zeros(128))(rows, level, torch.empty(level.rows, 128), Workspace(), relu=False)
    exact = F.conv2d(pad(tiles.double(), grid, 1), weight.double())
    error = (to_tiles(found, grid.n_tiles, 8) - exact).abs().max() / exact.abs().max()
    assert error < 1e-5


@pytest.mark.parametrize(("count", "most"), [(0, 100), (8, 100), (1136, 144), (88, 80), (1000, 3)])
def test_pieces_cover_everything_once(count: int, most: int) -> None:
    cut = pieces(count, most)
    assert sum(length for _, length in cut) == count
    assert [start for start, _ in cut] == list(np.cumsum([0, *(length for _, length in cut)]))[: len(cut)]
    assert all(0 < length <= max(8, most) for _, length in cut)


def test_patch_sides() -> None:
    assert [patch_side(q) for q in (1, 2, 3, 4, 6, 8, 12, 16)] == [1, 2, 1, 4, 2, 4, 4, 4]
