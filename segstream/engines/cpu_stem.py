"""The network's beginning on the CPU: tiles straight from the image, 7x7 convolution, ReLU, max pooling."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segstream.engines.cpu_ops import Workspace, packed_conv
from segstream.engines.cpu_tables import Blocks, PoolBorder, patch_side

HALO = 3
TILES = 8  # convolved at a time: few enough to be pooled from the cache, and one shape for oneDNN to prepare


class Stem:
    """7x7 convolution of stride 2, ReLU, 3x3 max pooling of stride 2.

    Args:
        weight: [64, 3, 7, 7].
        bias: [64].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.conv = packed_conv(weight, bias, 2, [TILES, 3, 70, 70])
        self.channels = weight.shape[0]

    def __call__(self, x: Tensor, blocks: Blocks, border: PoolBorder, out: Tensor, work: Workspace) -> Tensor:
        """Image [1, 3, H, W], channels last -> rows [pixels.., 64] of the level at stride 4, in `out`."""
        tiles = sample_tiles(x, blocks, work)  # [T, side, side, 3]
        count, q = len(tiles), blocks.block // 4
        c = self.channels
        convolved = work.take("convolved", count, q, q, c)
        m = patch_side(q // 2)
        p = q // 2 // m
        pooled = out[: count * q * q // 4].view(count, p, p, m, m, c)
        in_place = pooled.permute(0, 1, 3, 2, 4, 5)  # [T, py, iy, px, ix, C]
        for start in range(0, count, TILES):
            end = min(start + TILES, count)
            y = self.conv(tiles[start:end].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            convolved[start:end] = y
            tall = torch.maximum(y[:, 0::2], y[:, 1::2], out=work.take("tall", end - start, q // 2, q, c))
            torch.maximum(tall[:, 1:], y[:, 1:-1:2], out=tall[:, 1:])
            wide = work.take("wide", end - start, q // 2, q // 2, c)
            torch.maximum(tall[:, :, 0::2], tall[:, :, 1::2], out=wide)
            torch.maximum(wide[:, :, 1:], tall[:, :, 1:-1:2], out=wide[:, :, 1:])
            in_place[start:end] = wide.view(end - start, p, m, p, m, c)
        # What lies above and left of the tiles can only raise the first row and column of each.
        around = border.gather(convolved.view(-1, c)).view(count, 2, q + 1, c)
        raised = torch.maximum(around[:, :, 0:-1:2], around[:, :, 1::2])
        raised = torch.maximum(raised, around[:, :, 2::2]).view(count, 2, p, m, c)
        top, left = in_place[:, 0, 0], in_place[:, :, :, 0, 0]
        torch.maximum(top, raised[:, 0], out=top)
        torch.maximum(left, raised[:, 1], out=left)
        return out


def sample_tiles(x: Tensor, blocks: Blocks, work: Workspace) -> Tensor:
    """BlockSample with a halo: image [1, 3, H, W], channels last -> [T, b/2 + 6, b/2 + 6, 3].

    A low tile sees the 2x2 average everywhere. A high tile sees its low neighbours averaged and enlarged again.
    """
    image = x[0].permute(1, 2, 0)  # [H, W, 3]
    height, width, _ = image.shape
    block, side = blocks.block, blocks.block // 2
    window = side + 2 * HALO
    tiles = work.take("tiles", blocks.n_tiles, window, window * 3)
    fine_starts, coarse_starts = blocks.tile_starts(side, width + 2 * HALO, width // 2 + 2 * HALO)
    high = 4 * blocks.n_high
    if blocks.n_low:
        coarse = framed(work, "coarse", height // 2, width // 2)
        tall = torch.add(image[0::2], image[1::2], out=work.take("tall", height // 2, width, 3))
        pairs = tall.view(height // 2, width // 2, 2, 3)
        inner = coarse[HALO:-HALO, HALO:-HALO]
        torch.add(pairs[:, :, 0], pairs[:, :, 1], out=inner).mul_(0.25)
        cut(coarse, coarse_starts, window, tiles[high:])
    if blocks.n_high:
        fine = framed(work, "fine", height, width)
        inner = fine[HALO:-HALO, HALO:-HALO]
        inner.copy_(image)
        if blocks.n_low:
            for at in blocks.low_at[touches_high(blocks)]:
                y, x_ = int(at) // blocks.columns * side, int(at) % blocks.columns * side
                low = coarse[HALO + y : HALO + y + side, HALO + x_ : HALO + x_ + side]
                fill_ring(inner[2 * y : 2 * y + block, 2 * x_ : 2 * x_ + block], low)
        cut(fine, fine_starts, window, tiles[:high])
    return tiles.view(blocks.n_tiles, window, window, 3)


def framed(work: Workspace, name: str, height: int, width: int) -> Tensor:
    """An image [height + 6, width + 6, 3] with a frame of zeros, the inside not initialised."""
    image = work.take(name, height + 2 * HALO, width + 2 * HALO, 3)
    image[:HALO] = 0
    image[-HALO:] = 0
    image[:, :HALO] = 0
    image[:, -HALO:] = 0
    return image


def fill_ring(block: Tensor, low: Tensor) -> None:
    """Replace a low block's outermost pixels [b, b, 3], all that high neighbours see, by its averages [b/2, b/2, 3]."""
    ring = HALO + 1  # an even number of pixels
    half = ring // 2
    for rows, low_rows in ((slice(0, ring), slice(0, half)), (slice(-ring, None), slice(-half, None))):
        block[rows] = low[low_rows].repeat_interleave(2, 0).repeat_interleave(2, 1)
    for columns, low_columns in ((slice(0, ring), slice(0, half)), (slice(-ring, None), slice(-half, None))):
        block[:, columns] = low[:, low_columns].repeat_interleave(2, 0).repeat_interleave(2, 1)


def touches_high(blocks: Blocks) -> np.ndarray:
    """bool [Nl]: which low blocks have a high one beside them."""
    around = np.zeros((blocks.rows + 2, blocks.columns + 2), dtype=bool)
    for dy in range(3):
        for dx in range(3):
            around[dy : dy + blocks.rows, dx : dx + blocks.columns] |= blocks.high
    return around[1:-1, 1:-1].reshape(-1)[blocks.low_at]


def cut(image: Tensor, starts: np.ndarray, window: int, out: Tensor) -> None:
    """Cut square windows, given by the pixel each starts at, out of an image [H, W, 3] into [T, window, window * 3]."""
    width = image.shape[1]
    # Every run of `window` pixels of the image as a row of an overlapping view: a window is a plain gather of rows.
    runs = image.as_strided((image.shape[0] * width - window + 1, window * 3), (3, 1), image.storage_offset())
    lines = np.arange(window, dtype=np.int32) * width
    index = torch.from_numpy((starts[:, None] + lines[None, :]).reshape(-1).astype(np.int32))
    torch.index_select(runs, 0, index, out=out.view(-1, window * 3))
