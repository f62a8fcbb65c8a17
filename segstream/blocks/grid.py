"""The grid of blocks, the order of its tiles, and the tables that BlockPad gathers by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

EDGES = ("zeros", "replicate")
# A tile's side must halve down to 1 without a remainder, or 2x2 means would cross tiles; 64 is the network's stride of
# 32 times the two pixels of a low block.
BLOCK_SIDES = (64, 128, 256, 512, 1024)


@dataclass(frozen=True, slots=True)
class PadTable:
    """Where BlockPad takes each pixel of the padded tiles from. Shapes depend on the counts of blocks alone.

    Rows count the pixels of a level's tiles: row = (tile * q + y) * q + x.

    Attributes:
        codes: int32 [T, q+2p, q+2p]. code >= 0: that row. -1: zero. code <= -2: the mean of the 2x2 pixels whose first
            row is -2 - code (a low tile beside a high block).
        rows: int32 [T * (q+2p)**2], row to copy; `T * q * q`, one past the last, stands for zero.
        low_border: int64 [Nl * B], positions in `rows` of the border pixels of the low tiles.
        low_border_rows: int32 [Nl * B, 4], the four rows whose mean such a border pixel is (four times the same one
            where it is a copy).
    """

    codes: Tensor
    rows: Tensor
    low_border: Tensor
    low_border_rows: Tensor


class Grid:
    """Which blocks run at high resolution, and where their tiles are.

    Tiles are ordered: first the four tiles (row-major) of each high block, the blocks row-major over (n, row, column);
    then one tile for each low block, row-major likewise.

    Args:
        high: bool [N, GH, GW], true = high resolution.
        block: side of a high-resolution block in pixels of the network input.
        n_high: the number of high blocks where the caller knows it, which saves waiting for the device.
    """

    def __init__(self, high: Tensor, block: int, n_high: int | None = None) -> None:
        if high.dim() != 3 or high.dtype != torch.bool or high.numel() == 0:
            raise ValueError(
                f"a grid must be a bool tensor [N, GH, GW] with at least one block, not {high.dtype} {list(high.shape)}"
            )
        if block < 2 or block % 2:
            raise ValueError(f"a block's side must be an even number of pixels, not {block}")
        self.high = high
        self.block = block
        self.n_high = int(high.sum()) if n_high is None else n_high
        self.n_low = high.numel() - self.n_high
        self.n_tiles = 4 * self.n_high + self.n_low
        # High blocks first, each kind row-major: a stable sort needs no count and so no wait for the device.
        order = torch.argsort(high.reshape(-1).logical_not().to(torch.uint8), stable=True)
        self.order = order  # int64 [N*GH*GW], flat block by place in the list
        self.high_blocks = order[: self.n_high]  # int64 [Nh]
        self.low_blocks = order[self.n_high :]  # int64 [Nl]
        place = torch.empty_like(order)
        place[order] = torch.arange(order.numel(), device=order.device)
        self.place = place  # int64 [N*GH*GW], place in the list by flat block
        self._tables: dict[tuple[int, int, str], PadTable] = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        n, rows, columns = self.high.shape
        return n, rows, columns

    @property
    def device(self) -> torch.device:
        return self.high.device

    @property
    def high_share(self) -> float:
        return self.n_high / self.high.numel()

    def first_tile(self) -> Tensor:
        """int32 [N, GH, GW]: index of each block's first tile."""
        place = self.place.to(torch.int32).view(self.high.shape)
        return torch.where(self.high, 4 * place, place + 3 * self.n_high)

    def pad_table(self, q: int, p: int, edge: str = "zeros") -> PadTable:
        """The table by which BlockPad pads tiles of side `q` by `p` pixels; made once per grid and level.

        Args:
            q: side of a tile at the level in question.
            p: padding in pixels.
            edge: what lies beyond the image: "zeros", or "replicate" for its border pixels.
        """
        if edge not in EDGES:
            raise ValueError(f"edge must be one of {', '.join(EDGES)}, not {edge!r}")
        if p < 0:
            raise ValueError(f"padding must be 0 or more pixels, not {p}")
        key = (q, p, edge)
        if key not in self._tables:
            self._tables[key] = make_pad_table(self, q, p, edge)
        return self._tables[key]


def make_pad_table(grid: Grid, q: int, p: int, edge: str) -> PadTable:
    """Build the table of `Grid.pad_table` with tensor operations on the grid's own device."""
    codes = pad_codes(grid, q, p, edge)  # [T, s, s]
    side = q + 2 * p
    zero_row = grid.n_tiles * q * q
    flat = codes.reshape(-1)
    rows = torch.where(flat >= 0, flat, zero_row)
    border_at, steps = table_constants(q, p, grid.device)
    first_low = 4 * grid.n_high
    low_tiles = torch.arange(first_low, grid.n_tiles, device=grid.device)
    low_border = (low_tiles[:, None] * (side * side) + border_at[None, :]).reshape(-1)
    code = flat[low_border]
    mean_rows = (-2 - code)[:, None] + steps
    copy_rows = torch.where(code >= 0, code, zero_row)[:, None].expand(-1, 4)
    low_border_rows = torch.where((code <= -2)[:, None], mean_rows, copy_rows)
    return PadTable(codes, rows, low_border, low_border_rows)


@cache
def table_constants(q: int, p: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Positions of the border pixels in a padded tile, int64 [B], and steps to the pixels of a 2x2 group, int32 [4].

    Kept on the device, because a copy from the host would wait for it and cannot be captured in a CUDA graph.
    """
    border = torch.ones(q + 2 * p, q + 2 * p, dtype=torch.bool)
    border[p : p + q, p : p + q] = False
    steps = torch.tensor([0, 1, q, q + 1] if q > 1 else [0, 1, 2, 3], dtype=torch.int32)
    return border.reshape(-1).nonzero().squeeze(1).to(device), steps.to(device)


def pad_codes(grid: Grid, q: int, p: int, edge: str) -> Tensor:
    """int32 [T, q+2p, q+2p]: the codes of `PadTable`.

    Two canvases of codes, one per resolution, say for every pixel of the image what a tile of that resolution sees
    there; the tiles' windows are then cut from the canvases.
    """
    n, gh, gw = grid.shape
    device = grid.device
    first_row = grid.first_tile() * (q * q)  # [N, GH, GW]
    high = grid.high

    y = torch.arange(2 * q, dtype=torch.int32, device=device)
    tile_y, inner_y = y // q, y % q
    in_high = (2 * tile_y[:, None] + tile_y[None, :]) * (q * q) + inner_y[:, None] * q + inner_y[None, :]
    in_low = (y // 2)[:, None] * q + (y // 2)[None, :]
    fine = first_row[:, :, :, None, None] + torch.where(high[:, :, :, None, None], in_high, in_low)
    fine = fine.permute(0, 1, 3, 2, 4).reshape(n, gh * 2 * q, gw * 2 * q)

    group_first = -2 - (first_row[:, :, :, None, None] + in_high[::2, ::2])
    own = first_row[:, :, :, None, None] + in_high[:q, :q]
    coarse = torch.where(high[:, :, :, None, None], group_first, own)
    coarse = coarse.permute(0, 1, 3, 2, 4).reshape(n, gh * q, gw * q)

    fine_windows = windows(pad_canvas(fine, p, edge), q, p)  # [N, 2GH, 2GW, s, s]
    side = q + 2 * p
    by_block = fine_windows.reshape(n, gh, 2, gw, 2, side, side).permute(0, 1, 3, 2, 4, 5, 6)
    high_tiles = by_block.reshape(n * gh * gw, 4, side, side)[grid.high_blocks].reshape(-1, side, side)
    coarse_windows = windows(pad_canvas(coarse, p, edge), q, p)  # [N, GH, GW, s, s]
    low_tiles = coarse_windows.reshape(n * gh * gw, side, side)[grid.low_blocks]
    return torch.cat([high_tiles, low_tiles])


def pad_canvas(canvas: Tensor, p: int, edge: str) -> Tensor:
    """Pad an int canvas [N, H, W] by `p` with -1 (zeros) or with its border pixels (replicate)."""
    if p == 0:
        return canvas
    if edge == "zeros":
        return F.pad(canvas, (p, p, p, p), value=-1)
    height, width = canvas.shape[-2:]
    rows = torch.arange(-p, height + p, device=canvas.device).clamp(0, height - 1)
    columns = torch.arange(-p, width + p, device=canvas.device).clamp(0, width - 1)
    return canvas[:, rows][:, :, columns]


def windows(canvas: Tensor, q: int, p: int) -> Tensor:
    """View a padded canvas [N, H+2p, W+2p] as windows of side q+2p, one every q pixels: [N, H/q, W/q, s, s]."""
    side = q + 2 * p
    return canvas.unfold(1, side, q).unfold(2, side, q)
