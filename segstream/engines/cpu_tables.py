"""Index tables of the CPU engine: where each layer finds its pixels, for one grid.

Features are rows `[R, C]`, one row a pixel. Within a tile the pixels are ordered by patch (`patch_order`), so that a
patch that Winograd's convolution has computed is stored as it comes. BlockPad is no step of its own: every layer
gathers its neighbourhoods by a table of row numbers, which already says what a tile sees beyond its border. Behind the
pixels a level keeps one row of zeros (beyond the image) and the 2x2 means that low tiles see along high blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor

Index = NDArray[np.int32]
PATCH_ROUND = 8  # patches are filled up to a multiple of this, which bounds how many shapes oneDNN prepares for


def patch_side(q: int) -> int:
    """Side of the patches that tiles of side `q` are computed in: 4, 2 or 1."""
    return 4 if q % 4 == 0 else 2 if q % 2 == 0 else 1


@lru_cache(maxsize=64)
def patch_order(q: int) -> Index:
    """[q, q]: position of each pixel of a tile in the order of patches (row-major) and pixels in a patch."""
    m = patch_side(q)
    y = np.arange(q, dtype=np.int32)
    patch = (y // m)[:, None] * (q // m) + (y // m)[None, :]
    return patch * (m * m) + (y % m)[:, None] * m + (y % m)[None, :]


def row_order(q: int) -> Index:
    """[q, q]: position of each pixel of a tile in plain row-major order, as oneDNN's convolution leaves them."""
    return np.arange(q * q, dtype=np.int32).reshape(q, q)


@lru_cache(maxsize=64)
def block_order(q: int, order: Callable[[int], Index]) -> tuple[Index, Index]:
    """[2q, 2q] each: position of a high block's pixels among its four tiles' rows; and of the low pixel over each."""
    y = np.arange(2 * q)
    inner = order(q)
    tile = 2 * (y // q)[:, None] + (y // q)[None, :]
    in_high = tile * (q * q) + inner[np.ix_(y % q, y % q)]
    return in_high.astype(np.int32), inner[np.ix_(y // 2, y // 2)]


@lru_cache(maxsize=64)
def ring_order(q: int, order: Callable[[int], Index]) -> tuple[Index, Index]:
    """The border pixels of a low tile of side `q`: their position on the ring [q, q] (0 inside), and the rows [B, 4]
    of the high block's pixels over each."""
    on_ring = np.zeros((q, q), dtype=bool)
    on_ring[[0, -1]] = on_ring[:, [0, -1]] = True
    place = np.zeros((q, q), dtype=np.int32)
    place[on_ring] = np.arange(on_ring.sum(), dtype=np.int32)
    in_high, _ = block_order(q, order)
    groups = np.stack([in_high[dy::2, dx::2][on_ring] for dy in (0, 1) for dx in (0, 1)], 1)
    return place, groups


def offsets(starts_y: Index, starts_x: Index, side: int, width: int) -> Index:
    """[len(starts), side*side]: flat positions of square windows in a canvas of a width, from their first pixels."""
    y = np.arange(side, dtype=np.int32)
    window = (y[:, None] * width + y[None, :]).reshape(-1)
    return (starts_y * width + starts_x)[:, None] + window[None, :]


def in_patch_order(q: int) -> tuple[Index, Index]:
    """y and x of a tile's pixels in the order of patches."""
    order = np.argsort(patch_order(q).reshape(-1))
    return (order // q).astype(np.int32), (order % q).astype(np.int32)


@lru_cache(maxsize=256)
def window_offsets(q: int, kind: str, width: int) -> Index:
    """Flat offsets [windows * pixels] from a tile's first window pixel in a canvas padded by one.

    Kinds: "patch" (a patch and the pixel around it), "stride2" (3x3 around every second pixel, in the order of the
    next level), "enlarge" (what a patch of the level twice as fine is interpolated from).
    """
    if kind == "patch":
        m = patch_side(q)
        y = np.arange(0, q, m, dtype=np.int32)
        ys, xs = (a.reshape(-1) for a in np.meshgrid(y, y, indexing="ij"))
        return offsets(ys, xs, m + 2, width).reshape(-1)
    if kind == "stride2":
        ys, xs = in_patch_order(q // 2)
        return offsets(2 * ys, 2 * xs, 3, width).reshape(-1)
    step = patch_side(2 * q) // 2
    y = np.arange(0, q, step, dtype=np.int32)
    ys, xs = (a.reshape(-1) for a in np.meshgrid(y, y, indexing="ij"))
    return offsets(ys, xs, step + 2, width).reshape(-1)


class Blocks:
    """The high and low blocks of one image's grid, and the order of their tiles.

    Args:
        high: bool [GH, GW].
        block: side of a block in pixels of the network input.
    """

    def __init__(self, high: NDArray[np.bool_], block: int) -> None:
        self.high = high
        self.block = block
        self.rows, self.columns = high.shape
        flat = high.reshape(-1)
        self.high_at = np.flatnonzero(flat).astype(np.int32)  # [Nh]
        self.low_at = np.flatnonzero(~flat).astype(np.int32)  # [Nl]
        self.n_high, self.n_low = len(self.high_at), len(self.low_at)
        self.n_tiles = 4 * self.n_high + self.n_low
        first = np.empty(flat.size, dtype=np.int32)
        first[self.high_at] = 4 * np.arange(self.n_high, dtype=np.int32)
        first[self.low_at] = 4 * self.n_high + np.arange(self.n_low, dtype=np.int32)
        self.first_tile = first.reshape(high.shape)
        place = np.zeros(flat.size, dtype=np.int32)
        place[self.high_at] = np.arange(self.n_high, dtype=np.int32)
        self.high_place = place.reshape(high.shape)  # index among the high blocks

    def tile_starts(self, q: int, fine_width: int, coarse_width: int) -> tuple[Index, Index]:
        """Flat position of each high tile's first pixel [4*Nh] in a fine canvas, of each low one's [Nl] in a coarse."""
        gy, gx = self.high_at // self.columns, self.high_at % self.columns
        ty, tx = np.array([0, 0, 1, 1], dtype=np.int32), np.array([0, 1, 0, 1], dtype=np.int32)
        y = (2 * gy[:, None] + ty[None, :]) * q
        x = (2 * gx[:, None] + tx[None, :]) * q
        ly, lx = self.low_at // self.columns * q, self.low_at % self.columns * q
        return (y * fine_width + x).reshape(-1), ly * coarse_width + lx


@dataclass(slots=True)
class Level:
    """Tables of one level (tiles of side `q`): row numbers are int32, in the order of patches.

    Attributes:
        q: side of a tile.
        m: side of a patch.
        patches: number of patches, filled up to a multiple of `PATCH_ROUND`.
        pixels: rows that hold pixels, patches * m * m (those of filled-up patches hold nothing of use).
        high_patches: number of patches of high tiles, which come first, filled up alike by those of low ones.
        high_pixels: rows that hold pixels of high tiles.
        zero: the row of zeros, just behind the pixels.
        rows: all rows: pixels, zero, means.
        means: [M * 4], rows to average into the rows behind `zero`.
        windows: [patches * (m+2)**2] for a 3x3 convolution.
        stride2: [pixels of the next level * 9] for a 3x3 convolution of stride 2, empty at the last level.
        enlarge: [patches of the finer level * k*k] for enlarging to the level twice as fine, or empty.
        fine: [GH*2q, GW*2q], the row that a dense canvas of the high resolution holds (low pixels repeated).
        coarse: [GH*q, GW*q], the same at low resolution (only where no block is high).
    """

    q: int
    m: int
    patches: int
    pixels: int
    high_patches: int
    high_pixels: int
    zero: int
    rows: int
    means: Tensor
    windows: Tensor
    stride2: Tensor
    enlarge: Tensor
    fine: Index
    coarse: Index

    def finish(self, rows: Tensor) -> Tensor:
        """Fill in the rows behind the pixels of [rows, C]."""
        rows[self.zero].zero_()
        if len(self.means):
            four = rows.index_select(0, self.means).view(-1, 4, rows.shape[1])
            torch.mean(four, 1, out=rows[self.zero + 1 :])
        return rows


def round_patches(count: int) -> int:
    return -(-count // PATCH_ROUND) * PATCH_ROUND


def patch_count(tiles: int, q: int) -> int:
    return round_patches(tiles * (q // patch_side(q)) ** 2)


def make_level(blocks: Blocks, q: int, stride2: bool, enlarge: bool) -> Level:
    """Make the tables of the level where tiles have side `q`.

    Args:
        blocks: the grid.
        q: side of a tile.
        stride2: make the table for the level twice as coarse.
        enlarge: make the table for the level twice as fine.
    """
    m = patch_side(q)
    patches = patch_count(blocks.n_tiles, q)
    pixels = patches * m * m
    fine, coarse, means = canvases(blocks, q, pixels)
    starts = blocks.tile_starts(q, fine.shape[1], coarse.shape[1])

    def gather(kind: str, windows: int, pixels_each: int) -> Tensor:
        table = np.full(windows * pixels_each, pixels, dtype=np.int32)
        done = 0
        for canvas, start in zip((fine, coarse), starts, strict=True):
            if len(start):
                offset = window_offsets(q, kind, canvas.shape[1])
                found = table[done : done + len(start) * len(offset)].reshape(len(start), len(offset))
                np.take(canvas.reshape(-1), start[:, None] + offset[None, :], out=found, mode="clip")
                done += found.size
        return torch.from_numpy(table)

    empty = torch.empty(0, dtype=torch.int32)
    enlarge_table = empty
    if enlarge:  # the image's border repeats
        k = patch_side(2 * q) // 2 + 2
        for canvas in (fine, coarse):
            canvas[0], canvas[-1] = canvas[1], canvas[-2]
            canvas[:, 0], canvas[:, -1] = canvas[:, 1], canvas[:, -2]
        enlarge_table = gather("enlarge", patch_count(blocks.n_tiles, 2 * q), k * k)
    for canvas in (fine, coarse):
        canvas[0] = canvas[-1] = pixels
        canvas[:, 0] = canvas[:, -1] = pixels
    stride2_table = empty
    if stride2:
        coarser = patch_side(q // 2)
        stride2_table = gather("stride2", patch_count(blocks.n_tiles, q // 2) * coarser * coarser, 9)
    return Level(
        q=q,
        m=m,
        patches=patches,
        pixels=pixels,
        high_patches=patch_count(4 * blocks.n_high, q),
        high_pixels=4 * blocks.n_high * q * q,
        zero=pixels,
        rows=pixels + 1 + len(means) // 4,
        means=torch.from_numpy(means),
        windows=gather("patch", patches, (m + 2) ** 2),
        stride2=stride2_table,
        enlarge=enlarge_table,
        fine=fine[1:-1, 1:-1],
        coarse=coarse[1:-1, 1:-1],
    )


def canvases(
    blocks: Blocks, q: int, pixels: int, order: Callable[[int], Index] = patch_order
) -> tuple[Index, Index, Index]:
    """Row numbers of what tiles see: by high tiles [GH*2q + 2, GW*2q + 2], by low tiles [GH*q + 2, GW*q + 2].

    Low pixels are repeated in the first; high pixels are averaged in the second, in rows behind `pixels` that are the
    means of the third, [M * 4]. The outermost pixels are left for the caller to fill in.
    """
    gh, gw = blocks.rows, blocks.columns
    first = blocks.first_tile * (q * q)
    fine = np.empty((gh * 2 * q + 2, gw * 2 * q + 2), dtype=np.int32)
    coarse = np.empty((gh * q + 2, gw * q + 2), dtype=np.int32)
    in_high, in_low = block_order(q, order)
    by_block = blocks_of(fine, 2 * q, gh, gw)
    if blocks.n_low == 0:
        np.add(first[:, None, :, None], in_high[None, :, None, :], out=by_block)
    else:
        inner = np.where(blocks.high[:, None, :, None], in_high[None, :, None, :], in_low[None, :, None, :])
        np.add(first[:, None, :, None], inner, out=by_block)
    means = np.empty(0, dtype=np.int32)
    by_block = blocks_of(coarse, q, gh, gw)
    np.add(first[:, None, :, None], order(q)[None, :, None, :], out=by_block)
    if blocks.n_low and blocks.n_high:
        place, groups = ring_order(q, order)
        mean = (pixels + 1) + blocks.high_place[:, None, :, None] * len(groups) + place[None, :, None, :]
        np.copyto(by_block, mean, where=blocks.high[:, None, :, None])
        means = (first.reshape(-1)[blocks.high_at][:, None] + groups.reshape(1, -1)).reshape(-1).astype(np.int32)
    return fine, coarse, means


@dataclass(slots=True)
class PoolBorder:
    """What max pooling of stem tiles (side `q`, rows in plain order) sees above and left of each tile.

    Attributes:
        rows: [T * (2q + 2)], first the row above (with its left corner), then the column to the left (likewise). Where
            the pixel is a mean or lies beyond the image the number is 0 and the place stands in `special`.
        special: [S], places in `rows` that take their pixel from the extra rows.
        extra: [S], which one: 0 is zero, the others are means.
        means: [M * 4], rows to average into the extra rows behind zero.
    """

    rows: Tensor
    special: Tensor
    extra: Tensor
    means: Tensor

    def gather(self, rows: Tensor) -> Tensor:
        """[T*q*q, C] -> [T, 2q + 2, C]."""
        channels = rows.shape[1]
        border = rows.index_select(0, self.rows)
        if len(self.special):
            extra = rows.new_zeros(1 + len(self.means) // 4, channels)
            if len(self.means):
                torch.mean(rows.index_select(0, self.means).view(-1, 4, channels), 1, out=extra[1:])
            border.index_copy_(0, self.special, extra.index_select(0, self.extra))
        return border


def make_pool_border(blocks: Blocks, q: int) -> PoolBorder:
    pixels = blocks.n_tiles * q * q
    fine, coarse, means = canvases(blocks, q, pixels, row_order)
    along = np.arange(q + 1, dtype=np.int32)
    parts = []
    for canvas, start in zip((fine, coarse), blocks.tile_starts(q, fine.shape[1], coarse.shape[1]), strict=True):
        canvas[0] = canvas[:, 0] = pixels
        offset = np.concatenate([along, along * canvas.shape[1]])
        parts.append(canvas.reshape(-1)[start[:, None] + offset[None, :]].reshape(-1))
    found = np.concatenate(parts)
    special = np.flatnonzero(found >= pixels)
    extra = found[special] - pixels
    found[special] = 0
    return PoolBorder(*(torch.from_numpy(a) for a in (found, special, extra, means)))


def blocks_of(canvas: Index, side: int, rows: int, columns: int) -> Index:
    """View a canvas padded by one as [rows, side, columns, side]."""
    inner = canvas[1:-1, 1:-1]
    down, right = inner.strides
    return as_strided(inner, (rows, side, columns, side), (side * down, down, side * right, right))
