"""BlockSample, BlockPad, BlockCombine and enlargement on CUDA kernels, differentiable and opaque to torch.compile.

Each is the twin of the plain-torch function in `segstream.blocks.tiles`; the tests hold the two against each other.
Tiles are [T, C, q, q], best in channels_last (else they are copied into it); results are channels_last. float32,
float16 and bfloat16; sums are taken in float32. Every backward pass is a gather too: no atomics, the same result each
time.

A grid is given as its two tables, from `grid_tables`:
    blocks: int32 [N, GH, GW], first tile of the block * 2 + (1 where high)
    tiles:  int32 [T], position of the tile among the fine tiles [N, 2GH, 2GW] * 2 + (1 where high)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segstream.kernels.launcher import SCALARS, launch

EDGES = {"zeros": 0, "replicate": 1, "block": 2}
THREADS = 256


def grid_tables(high: Tensor, place: Tensor, n_high: int) -> tuple[Tensor, Tensor]:
    """The tables `blocks` and `tiles` of a grid.

    Args:
        high: bool [N, GH, GW].
        place: int64 [N*GH*GW], place of each block in the list that has the high blocks first.
        n_high: number of high blocks.
    """
    _, gh, gw = high.shape
    count = high.numel()
    blocks = torch.empty(high.shape, dtype=torch.int32, device=high.device)
    tiles = torch.empty(count + 3 * n_high, dtype=torch.int32, device=high.device)
    grid = (-(-count // THREADS), 1)
    launch("blocks.cu", "grid_map", grid, THREADS, [high.contiguous(), place, blocks, tiles, n_high, count, gh, gw])
    return blocks, tiles


def rows_of(x: Tensor) -> Tensor:
    """[T, C, H, W] as contiguous [T, H, W, C]; a view where x is channels_last."""
    return x.permute(0, 2, 3, 1).contiguous()


def as_tiles(rows: Tensor) -> Tensor:
    return rows.permute(0, 3, 1, 2)


def vector(channels: int, *tensors: Tensor | None) -> int:
    """How many channels a thread can move at once: 16 bytes, or less where the number of channels does not allow it."""
    size = next(x.element_size() for x in tensors if x is not None)
    width = 16 // size
    while channels % width or any(x is not None and x.data_ptr() % (width * size) for x in tensors):
        width //= 2
    return width


def run(name: str, per_tile: int, count: int, channels: int, tensors: list[Tensor | None], rest: list[Any]) -> None:
    """Launch a kernel of blocks.cu over `count` tiles (or rows) of `per_tile` pixels each."""
    scalar = next(x.dtype for x in tensors if x is not None)
    if scalar not in SCALARS:
        raise TypeError(f"block operations on CUDA take float32, float16 or bfloat16 tensors, not {scalar}")
    if count > 65535:
        raise ValueError(f"one call takes at most 65535 tiles or image rows, not {count}: use a smaller batch")
    vec = vector(channels, *tensors)
    grid = (-(-per_tile * (channels // vec) // THREADS), count)
    launch("blocks.cu", name, grid, THREADS, [*tensors, *rest], scalar=scalar, vec=vec)


def check(x: Tensor, blocks: Tensor, tiles: Tensor, p: int) -> None:
    q = x.shape[-1]
    if x.dim() != 4 or x.shape[0] != tiles.numel() or x.shape[-2] != q:
        raise ValueError(f"tiles must be [{tiles.numel()}, C, q, q] for this grid, not {list(x.shape)}")
    if p > q:
        raise ValueError(f"tiles of side {q} can be padded by at most {q} pixels, not {p}")
    mixed = tiles.numel() not in (blocks.numel(), 4 * blocks.numel())
    if mixed and q > 1 and q % 2:
        raise ValueError(f"a grid of both resolutions needs tiles of an even side (or 1), not {q}")


# BlockPad -------------------------------------------------------------------------------------------------------------


@torch.library.custom_op("segstream::block_pad", mutates_args=())
def block_pad(x: Tensor, blocks: Tensor, tiles: Tensor, p: int, edge: int = 0) -> Tensor:
    """BlockPad: [T, C, q, q] -> [T, C, q+2p, q+2p]. `edge` is a value of EDGES."""
    check(x, blocks, tiles, p)
    t, c, q, _ = x.shape
    rows, side = rows_of(x), q + 2 * p
    out = rows.new_empty(t, side, side, c)
    _, gh, gw = blocks.shape
    run("block_pad", side * side, t, c, [rows, out], [blocks, tiles, gh, gw, q, q, c, p, edge])
    return as_tiles(out)


@block_pad.register_fake
def _(x: Tensor, blocks: Tensor, tiles: Tensor, p: int, edge: int = 0) -> Tensor:
    t, c, q, _ = x.shape
    return as_tiles(x.new_empty(t, q + 2 * p, q + 2 * p, c))


@torch.library.custom_op("segstream::block_pad_backward", mutates_args=())
def block_pad_backward(grad: Tensor, blocks: Tensor, tiles: Tensor, p: int, edge: int) -> Tensor:
    """Gradient of BlockPad: [T, C, q+2p, q+2p] -> [T, C, q, q]."""
    t, c, side, _ = grad.shape
    rows, q = rows_of(grad), side - 2 * p
    out = rows.new_empty(t, q, q, c)
    _, gh, gw = blocks.shape
    run("block_pad_backward", q * q, t, c, [rows, None, out], [blocks, tiles, gh, gw, q, q, c, p, edge, 0])
    return as_tiles(out)


@block_pad_backward.register_fake
def _(grad: Tensor, blocks: Tensor, tiles: Tensor, p: int, edge: int) -> Tensor:
    t, c, side, _ = grad.shape
    return as_tiles(grad.new_empty(t, side - 2 * p, side - 2 * p, c))


def _keep_pad(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, blocks, tiles, ctx.p, ctx.edge = inputs
    ctx.save_for_backward(blocks, tiles)


def _pad_grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return block_pad_backward(grad, *ctx.saved_tensors, ctx.p, ctx.edge), None, None, None, None


block_pad.register_autograd(_pad_grad, setup_context=_keep_pad)


# BlockSample ----------------------------------------------------------------------------------------------------------


@torch.library.custom_op("segstream::block_sample", mutates_args=())
def block_sample(x: Tensor, blocks: Tensor, tiles: Tensor, halo: int = 0) -> Tensor:
    """BlockSample: [N, C, GH*2q, GW*2q] -> [T, C, q+2*halo, q+2*halo]; low blocks averaged, `halo` as BlockPad's zeros.

    Differentiable for halo 0; with a halo, pad the result of halo 0 instead where gradients are needed.
    """
    c, (n, gh, gw), t = x.shape[1], blocks.shape, tiles.numel()
    q = x.shape[-2] // (2 * gh)
    if x.dim() != 4 or x.shape[0] != n or q < 1 or tuple(x.shape[-2:]) != (2 * q * gh, 2 * q * gw):
        raise ValueError(f"a tensor of shape {list(x.shape)} does not fit a grid of {n} x {gh} x {gw} blocks")
    side = q + 2 * halo
    out = torch.empty(t, side, side, c, dtype=x.dtype, device=x.device)
    dense = rows_of(x) if vector(c, x) > 1 else x.permute(0, 2, 3, 1)
    if vector(c, dense) == 1:  # a picture of three channels is read in whatever layout it has
        strides = [dense.stride(i) for i in (0, 3, 1, 2)]
    else:
        strides = [dense.stride(0), 1, dense.stride(1), dense.stride(2)]
    run("block_sample", side * side, t, c, [dense, out], [blocks, tiles, gh, gw, q, q, c, halo, *strides])
    return as_tiles(out)


@block_sample.register_fake
def _(x: Tensor, blocks: Tensor, tiles: Tensor, halo: int = 0) -> Tensor:
    side = x.shape[-2] // (2 * blocks.shape[1]) + 2 * halo
    return as_tiles(x.new_empty(tiles.numel(), side, side, x.shape[1]))


@torch.library.custom_op("segstream::block_sample_backward", mutates_args=())
def block_sample_backward(grad: Tensor, blocks: Tensor, tiles: Tensor) -> Tensor:
    """Gradient of BlockSample without halo: [T, C, q, q] -> [N, C, GH*2q, GW*2q]."""
    (n, gh, gw), (_, c, q, _) = blocks.shape, grad.shape
    rows = rows_of(grad)
    out = rows.new_empty(n, 2 * gh * q, 2 * gw * q, c)
    run("block_sample_backward", 2 * gw * q, n * 2 * gh * q, c, [rows, out], [blocks, tiles, gh, gw, q, q, c])
    return as_tiles(out)


@block_sample_backward.register_fake
def _(grad: Tensor, blocks: Tensor, tiles: Tensor) -> Tensor:
    (n, gh, gw), (_, c, q, _) = blocks.shape, grad.shape
    return as_tiles(grad.new_empty(n, 2 * gh * q, 2 * gw * q, c))


def _keep_sample(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, blocks, tiles, halo = inputs
    if halo:
        raise ValueError("block_sample has no gradient with a halo: sample with halo 0 and pad")
    ctx.save_for_backward(blocks, tiles)


def _sample_grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return block_sample_backward(grad, *ctx.saved_tensors), None, None, None


block_sample.register_autograd(_sample_grad, setup_context=_keep_sample)


# Enlargement ----------------------------------------------------------------------------------------------------------


@torch.library.custom_op("segstream::block_enlarge", mutates_args=())
def block_enlarge(x: Tensor, blocks: Tensor, tiles: Tensor, edge: int = 1) -> Tensor:
    """Bilinear enlargement by two: [T, C, q, q] -> [T, C, 2q, 2q]; `edge` REPLICATE is seamless, BLOCK block-local."""
    check(x, blocks, tiles, 1)
    t, c, q, _ = x.shape
    rows = rows_of(x)
    out = rows.new_empty(t, 2 * q, 2 * q, c)
    _, gh, gw = blocks.shape
    run("block_enlarge", 4 * q * q, t, c, [rows, out], [blocks, tiles, gh, gw, q, q, c, edge])
    return as_tiles(out)


@block_enlarge.register_fake
def _(x: Tensor, blocks: Tensor, tiles: Tensor, edge: int = 1) -> Tensor:
    t, c, q, _ = x.shape
    return as_tiles(x.new_empty(t, 2 * q, 2 * q, c))


@torch.library.custom_op("segstream::block_enlarge_backward", mutates_args=())
def block_enlarge_backward(grad: Tensor, blocks: Tensor, tiles: Tensor, edge: int) -> Tensor:
    """Gradient of block_enlarge: [T, C, 2q, 2q] -> [T, C, q, q]."""
    t, c, side, _ = grad.shape
    rows, q = rows_of(grad), side // 2
    padded = rows.new_empty(t, q + 2, q + 2, c)
    out = rows.new_empty(t, q, q, c)
    _, gh, gw = blocks.shape
    common = [blocks, tiles, gh, gw, q, q, c]
    run("enlarge_backward", (q + 2) ** 2, t, c, [rows, padded], [*common, 0, 0])
    run("block_pad_backward", q * q, t, c, [padded, None, out], [*common, 1, edge, 0])
    return as_tiles(out)


@block_enlarge_backward.register_fake
def _(grad: Tensor, blocks: Tensor, tiles: Tensor, edge: int) -> Tensor:
    t, c, side, _ = grad.shape
    return as_tiles(grad.new_empty(t, side // 2, side // 2, c))


def _keep_enlarge(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, blocks, tiles, ctx.edge = inputs
    ctx.save_for_backward(blocks, tiles)


def _enlarge_grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return block_enlarge_backward(grad, *ctx.saved_tensors, ctx.edge), None, None, None


block_enlarge.register_autograd(_enlarge_grad, setup_context=_keep_enlarge)


# BlockCombine ---------------------------------------------------------------------------------------------------------


@torch.library.custom_op("segstream::block_combine", mutates_args=())
def block_combine(x: Tensor, blocks: Tensor, tiles: Tensor, edge: int = 1) -> Tensor:
    """BlockCombine: [T, C, q, q] -> [N, C, GH*2q, GW*2q]; `edge` REPLICATE is seamless, BLOCK block-local."""
    check(x, blocks, tiles, 1)
    _, c, q, _ = x.shape
    n, gh, gw = blocks.shape
    rows = rows_of(x)
    out = rows.new_empty(n, 2 * gh * q, 2 * gw * q, c)
    run("block_combine", 2 * gw * q, n * 2 * gh * q, c, [rows, out], [blocks, tiles, gh, gw, q, q, c, edge])
    return as_tiles(out)


@block_combine.register_fake
def _(x: Tensor, blocks: Tensor, tiles: Tensor, edge: int = 1) -> Tensor:
    (n, gh, gw), (_, c, q, _) = blocks.shape, x.shape
    return as_tiles(x.new_empty(n, 2 * gh * q, 2 * gw * q, c))


@torch.library.custom_op("segstream::block_combine_backward", mutates_args=())
def block_combine_backward(grad: Tensor, blocks: Tensor, tiles: Tensor, edge: int) -> Tensor:
    """Gradient of BlockCombine: [N, C, GH*2q, GW*2q] -> [T, C, q, q]."""
    _, _, gw = blocks.shape
    c, q, t = grad.shape[1], grad.shape[-1] // (2 * gw), tiles.numel()
    first_low = 4 * ((t - blocks.numel()) // 3)
    rows = rows_of(grad)
    padded = rows.new_empty(t - first_low, q + 2, q + 2, c)
    out = rows.new_empty(t, q, q, c)
    common = [blocks, tiles, *blocks.shape[1:], q, q, c]
    run("enlarge_backward", (q + 2) ** 2, t - first_low, c, [rows, padded], [*common, 1, first_low])
    run("block_pad_backward", q * q, t, c, [padded, rows, out], [*common, 1, edge, first_low])
    return as_tiles(out)


@block_combine_backward.register_fake
def _(grad: Tensor, blocks: Tensor, tiles: Tensor, edge: int) -> Tensor:
    c, q = grad.shape[1], grad.shape[-1] // (2 * blocks.shape[2])
    return as_tiles(grad.new_empty(tiles.numel(), q, q, c))


block_combine.register_autograd(
    lambda ctx, grad: (block_combine_backward(grad, *ctx.saved_tensors, ctx.edge), None, None, None),
    setup_context=_keep_enlarge,
)
