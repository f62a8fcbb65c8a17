"""Invariants of the block operations, for grids and sizes drawn at random."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from segstream.blocks import Grid, combine, from_lists, pad, sample, to_lists
from segstream.blocks.layers import convolve, max_pool
from segstream.blocks.tiles import combine_coarse, enlarge, sample_coarse


def draw_grid(seed: int, n: int, rows: int, columns: int, share: float, block: int) -> Grid:
    generator = torch.Generator().manual_seed(seed)
    return Grid(torch.rand(n, rows, columns, generator=generator) < share, block)


grids = st.builds(
    draw_grid,
    seed=st.integers(0, 10**6),
    n=st.integers(1, 2),
    rows=st.integers(1, 3),
    columns=st.integers(1, 4),
    share=st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]),
    block=st.just(64),
)


def image_for(grid: Grid, q: int, channels: int = 3) -> Tensor:
    n, rows, columns = grid.shape
    generator = torch.Generator().manual_seed(q)
    return torch.randn(n, channels, rows * 2 * q, columns * 2 * q, generator=generator)


def canvases(tiles: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """The two-canvas form: full-size tensors of either resolution, right everywhere, and where high blocks are."""
    q = tiles.shape[-1]
    n, rows, columns = grid.shape
    high, low = to_lists(tiles, grid)
    fine = torch.zeros(n * rows * columns, tiles.shape[1], 2 * q, 2 * q)
    coarse = torch.zeros(n * rows * columns, tiles.shape[1], q, q)
    flat = grid.high.reshape(-1)
    fine[flat], coarse[~flat] = high, low
    fine[~flat] = low.repeat_interleave(2, 2).repeat_interleave(2, 3)
    coarse[flat] = F.avg_pool2d(high, 2) if len(high) else high.new_zeros(0, tiles.shape[1], q, q)
    return lay_out(fine, grid), lay_out(coarse, grid), grid.high


def lay_out(blocks: Tensor, grid: Grid) -> Tensor:
    n, rows, columns = grid.shape
    c, side = blocks.shape[1], blocks.shape[-1]
    laid = blocks.view(n, rows, columns, c, side, side).permute(0, 3, 1, 4, 2, 5)
    return laid.reshape(n, c, rows * side, columns * side)


def own_tiles(fine: Tensor, coarse: Tensor, grid: Grid) -> Tensor:
    """Cut each canvas's own blocks out as tiles; the canvases need not be of the tiles' own level."""
    n, rows, columns = grid.shape
    c, side = fine.shape[1], fine.shape[-2] // rows
    half = coarse.shape[-2] // rows
    flat = grid.high.reshape(-1)
    blocks = fine.view(n, c, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, side, side)
    small = coarse.view(n, c, rows, half, columns, half).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, half, half)
    return from_lists(blocks[flat], small[~flat])


@settings(max_examples=40, deadline=None)
@given(grid=grids, q=st.sampled_from([1, 2, 4, 8]))
def test_all_high_combines_to_itself(grid: Grid, q: int) -> None:
    grid = Grid(torch.ones_like(grid.high), grid.block)
    x = image_for(grid, q)
    assert torch.equal(combine(sample(x, grid), grid), x)


@settings(max_examples=40, deadline=None)
@given(grid=grids, q=st.sampled_from([1, 2, 4, 8]))
def test_tiles_and_lists_are_one_thing(grid: Grid, q: int) -> None:
    tiles = sample(image_for(grid, q), grid)
    assert tiles.shape == (grid.n_tiles, 3, q, q)
    assert torch.equal(from_lists(*to_lists(tiles, grid)), tiles)


@settings(max_examples=40, deadline=None)
@given(grid=grids, q=st.sampled_from([1, 2, 4, 6]), kernel=st.sampled_from([3, 5, 7]))
def test_packed_convolution_equals_two_canvases(grid: Grid, q: int, kernel: int) -> None:
    tiles = sample(image_for(grid, q), grid)
    conv = nn.Conv2d(3, 4, kernel, padding=kernel // 2)
    fine, coarse, _ = canvases(tiles, grid)
    expected = own_tiles(conv(fine), conv(coarse), grid)
    assert (convolve(conv, tiles, grid) - expected).abs().max() < 1e-5


@settings(max_examples=20, deadline=None)
@given(grid=grids, q=st.sampled_from([2, 4, 8]))
def test_strided_operators_equal_two_canvases(grid: Grid, q: int) -> None:
    tiles = sample(image_for(grid, q), grid).relu()
    conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    fine, coarse, _ = canvases(tiles, grid)
    assert (convolve(conv, tiles, grid) - own_tiles(conv(fine), conv(coarse), grid)).abs().max() < 1e-5
    pooled = own_tiles(F.max_pool2d(fine, 3, 2, 1), F.max_pool2d(coarse, 3, 2, 1), grid)
    assert torch.equal(max_pool(tiles, 3, 2, grid), pooled)


@settings(max_examples=30, deadline=None)
@given(grid=grids, q=st.sampled_from([2, 4, 8]), halo=st.sampled_from([0, 1, 3]))
def test_sampling_with_a_halo_is_sampling_then_padding(grid: Grid, q: int, halo: int) -> None:
    x = image_for(grid, q)
    assert torch.allclose(sample(x, grid, halo), pad(sample(x, grid), grid, halo), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(grid=grids, q=st.sampled_from([1, 2, 4]))
def test_seamless_enlarging_equals_the_dense_network_at_both_ends(grid: Grid, q: int) -> None:
    every = Grid(torch.ones_like(grid.high), grid.block)
    x = image_for(every, q)
    dense = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    assert (combine(enlarge(sample(x, every), every), every) - dense).abs().max() < 1e-5
    none = Grid(torch.zeros_like(grid.high), grid.block)
    half = F.avg_pool2d(x, 2)
    dense = F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)
    assert (combine_coarse(enlarge(sample(x, none), none), none) - dense).abs().max() < 1e-5
    assert torch.equal(sample_coarse(combine_coarse(sample(x, none), none), none), sample(x, none))


@settings(max_examples=30, deadline=None)
@given(grid=grids, q=st.sampled_from([1, 2, 4]), p=st.sampled_from([1, 2, 3]))
def test_codes_say_what_padding_gives(grid: Grid, q: int, p: int) -> None:
    tiles = sample(image_for(grid, q), grid)
    rows = tiles.permute(0, 2, 3, 1).reshape(-1, 3)
    steps = [0, 1, q, q + 1] if q > 1 else [0, 1, 2, 3]
    for edge in ("zeros", "replicate"):
        codes = grid.pad_table(q, p, edge).codes.reshape(-1).tolist()
        by_code = [
            rows[c] if c >= 0 else rows.new_zeros(3) if c == -1 else rows[[-2 - c + s for s in steps]].mean(0)
            for c in codes
        ]
        padded = pad(tiles, grid, p, edge).permute(0, 2, 3, 1).reshape(-1, 3)
        assert torch.allclose(torch.stack(by_code), padded, atol=1e-6)
        assert edge == "zeros" or -1 not in codes


def test_batch_norm_counts_both_lists_and_the_spread_of_their_means() -> None:
    grid = Grid(torch.tensor([[[True, False], [False, False]]]), 64)
    tiles = torch.randn(grid.n_tiles, 2, 4, 4)
    tiles[:4] += 5  # the high block is far from the low ones: means apart, variances alike
    norm = nn.BatchNorm2d(2, momentum=1.0)
    norm.train()(tiles)
    high, low = to_lists(tiles, grid)
    pixels = torch.cat([high.permute(1, 0, 2, 3).reshape(2, -1), low.permute(1, 0, 2, 3).reshape(2, -1)], 1)
    assert norm.running_mean is not None and norm.running_var is not None
    assert torch.allclose(norm.running_mean, pixels.mean(1), atol=1e-5)
    assert torch.allclose(norm.running_var, pixels.var(1), atol=1e-4)
    assert (norm.running_var > 4).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_work(dtype: torch.dtype) -> None:
    grid = draw_grid(3, 1, 2, 3, 0.5, 64)
    tiles = sample(image_for(grid, 4).to(dtype), grid)
    assert combine(pad(tiles, grid, 0), grid).dtype == dtype
    assert pad(tiles, grid, 1).dtype == dtype


def test_gradients_flow_through_all_three() -> None:
    grid = draw_grid(5, 1, 2, 2, 0.5, 64)
    x = image_for(grid, 2, channels=1).double().requires_grad_()

    def run(x: Tensor) -> Tensor:
        return combine(enlarge(pad(sample(x, grid), grid, 1)[:, :, 1:-1, 1:-1], grid), grid)

    assert torch.autograd.gradcheck(run, (x,))


def test_wrong_sizes_are_refused_with_what_was_expected() -> None:
    grid = draw_grid(1, 1, 2, 2, 0.5, 64)
    with pytest.raises(ValueError, match="expected"):
        sample(torch.zeros(1, 3, 10, 16), grid)
    with pytest.raises(ValueError, match=f"{grid.n_tiles} tiles"):
        pad(torch.zeros(grid.n_tiles + 1, 3, 4, 4), grid, 1)
    with pytest.raises(ValueError, match="bool tensor"):
        Grid(torch.zeros(2, 2), 64)
    with pytest.raises(ValueError, match="zeros, replicate"):
        grid.pad_table(4, 1, "mirror")
