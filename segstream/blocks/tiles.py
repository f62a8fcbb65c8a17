"""BlockSample, BlockPad and BlockCombine on uniform tiles, in plain torch and differentiable.

Source of the three operations: Verelst and Tuytelaars, "SegBlocks" (IEEE TPAMI 45(2), 2023), section 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segstream.blocks.grid import Grid, windows


def tile_side(x: Tensor, grid: Grid) -> int:
    """Side q of the tiles that a dense tensor [N, C, H, W] is cut into, after checking that it fits the grid."""
    n, gh, gw = grid.shape
    height, width = x.shape[-2:]
    q = height // (2 * gh)
    if x.dim() != 4 or x.shape[0] != n or q < 1 or height != 2 * q * gh or width != 2 * q * gw:
        raise ValueError(
            f"a tensor of shape {list(x.shape)} does not fit a grid of {n} x {gh} x {gw} blocks: "
            f"expected [{n}, C, {gh}*b, {gw}*b] with an even block side b"
        )
    return q


def sample(x: Tensor, grid: Grid, halo: int = 0) -> Tensor:
    """BlockSample: cut a dense tensor into tiles; low blocks are averaged 2x2.

    Args:
        x: [N, C, H, W], any float type; H and W are the grid's blocks times an even block side.
        grid: which blocks are high.
        halo: also pad every tile by this many pixels, as BlockPad would do with zeros beyond the image.

    Returns:
        [T, C, q + 2*halo, q + 2*halo], channels last.

    Raises:
        ValueError: if the sizes do not fit the grid.
    """
    q = tile_side(x, grid)
    n, gh, gw = grid.shape
    c = x.shape[1]
    coarse = F.avg_pool2d(x, 2)
    fine = x
    if halo:
        # Beyond its own border a high tile sees its low neighbours enlarged; the coarse canvas needs no such care,
        # since a low tile sees the 2x2 average of high neighbours, which is what the canvas holds anyway.
        is_high = grid.high[:, None].repeat_interleave(2 * q, 2).repeat_interleave(2 * q, 3)
        fine = torch.where(is_high, x, F.interpolate(coarse, scale_factor=2, mode="nearest"))
        fine = F.pad(fine, (halo,) * 4)
        coarse = F.pad(coarse, (halo,) * 4)
    side = q + 2 * halo
    high = windows(fine.flatten(0, 1), q, halo).view(n, c, gh, 2, gw, 2, side, side)
    high = high.permute(0, 2, 4, 3, 5, 6, 7, 1).reshape(n * gh * gw, 4, side, side, c)
    low = windows(coarse.flatten(0, 1), q, halo).view(n, c, gh, gw, side, side)
    low = low.permute(0, 2, 3, 4, 5, 1).reshape(n * gh * gw, side, side, c)
    tiles = torch.cat([high[grid.high_blocks].flatten(0, 1), low[grid.low_blocks]])
    return tiles.permute(0, 3, 1, 2)


def pad(tiles: Tensor, grid: Grid, p: int, edge: str = "zeros") -> Tensor:
    """BlockPad: pad each tile by what its neighbours hold, the low ones enlarged, the high ones averaged.

    A high tile takes a low neighbour's pixels by nearest-neighbour enlargement, a low tile the 2x2 average of a high
    neighbour.

    Args:
        tiles: [T, C, q, q].
        grid: which blocks are high.
        p: padding in pixels.
        edge: beyond the image lie "zeros", or its border pixels ("replicate").

    Returns:
        [T, C, q + 2p, q + 2p], channels last.
    """
    t, c, q, _ = tiles.shape
    if t != grid.n_tiles:
        raise ValueError(f"a grid of {grid.n_high} high and {grid.n_low} low blocks has {grid.n_tiles} tiles, not {t}")
    table = grid.pad_table(q, p, edge)
    side = q + 2 * p
    rows = tiles.permute(0, 2, 3, 1).reshape(t * q * q, c)
    rows = torch.cat([rows, rows.new_zeros(1, c)])
    padded = rows.index_select(0, table.rows)
    if grid.n_low and grid.n_high:
        border = rows.index_select(0, table.low_border_rows.view(-1)).view(-1, 4, c).mean(1)
        padded = padded.index_copy(0, table.low_border, border)
    return padded.view(t, side, side, c).permute(0, 3, 1, 2)


def to_lists(tiles: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Split tiles [T, C, q, q] into the high blocks [Nh, C, 2q, 2q] and the low blocks [Nl, C, q, q]."""
    return join_tiles(tiles[: 4 * grid.n_high]), tiles[4 * grid.n_high :]


def join_tiles(tiles: Tensor) -> Tensor:
    """Put the four tiles of each high block together: [4 * Nh, C, q, q] -> [Nh, C, 2q, 2q]."""
    t, c, q, _ = tiles.shape
    high = tiles.view(t // 4, 2, 2, c, q, q)
    return high.permute(0, 3, 1, 4, 2, 5).reshape(t // 4, c, 2 * q, 2 * q)


def from_lists(high: Tensor, low: Tensor) -> Tensor:
    """Join high blocks [Nh, C, 2q, 2q] and low blocks [Nl, C, q, q] into tiles [T, C, q, q]."""
    n_high, c, side, _ = high.shape
    q = side // 2
    cut = high.reshape(n_high, c, 2, q, 2, q).permute(0, 2, 4, 1, 3, 5)
    return torch.cat([cut.reshape(4 * n_high, c, q, q), low])


def enlarge(tiles: Tensor, grid: Grid, seamless: bool = True) -> Tensor:
    """Enlarge every tile twice, bilinearly: [T, C, q, q] -> [T, C, 2q, 2q].

    Seamless: tiles look one pixel over their border (image border repeated), so that all-high equals enlarging the
    dense tensor. Otherwise each block is enlarged by itself, as the authors' networks were trained.
    """
    if seamless:
        return enlarge_inner(pad(tiles, grid, 1, edge="replicate"))
    high, low = to_lists(tiles, grid)
    return from_lists(enlarge_dense(high), enlarge_dense(low))


def enlarge_inner(padded: Tensor) -> Tensor:
    """Enlarge tiles padded by one pixel and cut the padding off: [T, C, q+2, q+2] -> [T, C, 2q, 2q]."""
    return enlarge_dense(padded)[:, :, 2:-2, 2:-2]


def enlarge_dense(x: Tensor) -> Tensor:
    """Bilinear enlargement by two: [N, C, H, W] -> [N, C, 2H, 2W]."""
    if x.shape[0] == 0:
        return x.new_zeros(0, x.shape[1], 2 * x.shape[2], 2 * x.shape[3])
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def combine(tiles: Tensor, grid: Grid, seamless: bool = True) -> Tensor:
    """BlockCombine: put tiles together into one dense tensor; low blocks are enlarged bilinearly.

    Args:
        tiles: [T, C, q, q].
        grid: which blocks are high.
        seamless: let low blocks look one pixel over their border when they are enlarged; otherwise each is enlarged by
            itself, as the authors do.

    Returns:
        [N, C, GH*2q, GW*2q].
    """
    q = tiles.shape[-1]
    high, low = to_lists(tiles, grid)
    if grid.n_low:
        if seamless:
            low = enlarge_inner(pad(tiles, grid, 1, edge="replicate")[4 * grid.n_high :])
        else:
            low = enlarge_dense(low)
        high = torch.cat([high, low])
    return place_blocks(high, grid, 2 * q)


def combine_nearest(tiles: Tensor, grid: Grid) -> Tensor:
    """Put tiles [T, C, q, q] together, low blocks enlarged by repeating pixels: [N, C, GH*2q, GW*2q]."""
    high, low = to_lists(tiles, grid)
    if grid.n_low:
        high = torch.cat([high, low.repeat_interleave(2, 2).repeat_interleave(2, 3)])
    return place_blocks(high, grid, 2 * tiles.shape[-1])


def combine_coarse(tiles: Tensor, grid: Grid) -> Tensor:
    """Put tiles [T, C, q, q] of a grid without high blocks together at their own resolution: [N, C, GH*q, GW*q]."""
    if grid.n_high:
        raise ValueError(
            f"{grid.n_high} blocks are high: only a grid of low blocks has a dense tensor of low resolution"
        )
    return place_blocks(tiles, grid, tiles.shape[-1])


def place_blocks(blocks: Tensor, grid: Grid, side: int) -> Tensor:
    """Lay blocks [Nh+Nl, C, side, side], listed high ones first, out as [N, C, GH*side, GW*side]."""
    n, gh, gw = grid.shape
    c = blocks.shape[1]
    laid = blocks.index_select(0, grid.place).view(n, gh, gw, c, side, side)
    return laid.permute(0, 3, 1, 4, 2, 5).reshape(n, c, gh * side, gw * side)


def sample_coarse(x: Tensor, grid: Grid) -> Tensor:
    """The reverse of `combine_coarse`: [N, C, GH*q, GW*q] -> tiles [T, C, q, q], no averaging."""
    n, gh, gw = grid.shape
    c, q = x.shape[1], x.shape[-2] // gh
    cut = x.view(n, c, gh, q, gw, q).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(n * gh * gw, c, q, q)
