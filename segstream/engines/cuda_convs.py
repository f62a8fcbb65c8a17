"""The convolutions of the CUDA engine: our own for 64 channels, matrix products for few pixels, cuDNN's for the rest.

On the CPU their plain twins stand in.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segstream.engines.cuda_glue import Layout
from segstream.engines.cuda_weights import Conv, Norm
from segstream.kernels.launcher import Argument, launch

CONV_SHARED = 99584  # bytes of shared memory of tile_conv
CONV_BLOCKS = 132 * 2  # blocks of threads that share a layer's work: as many as run at once on a large GPU


def by_tiles(conv: Conv, layout: Layout) -> bool:
    """Whether a layer runs by our own kernel: on tiles of whole 8x8 pixels, on Hopper (and, for tests, on the CPU)."""
    device = conv.bias.device
    side = layout.side[0] // 4
    hopper = device.type != "cuda" or torch.cuda.get_device_capability(device) == (9, 0)
    return conv.tiled is not None and not layout.whole and side % 8 == 0 and hopper


def tile_conv(
    x: Tensor, conv: Conv, layout: Layout, added: Tensor | None, norm: Norm | None, into: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """relu(conv(x) + bias + added) with BlockPad, and relu(norm) of that if asked for; see by_tiles.

    x, `added` and the results are [T, q, q, 64]. `into`: where the first result goes, which may be `added` itself.
    """
    t, qh, qw, _ = x.shape
    out, activated = torch.empty_like(x) if into is None else into, torch.empty_like(x) if norm else None
    arguments: list[Argument] = [x, added, out, activated, conv.tiled, conv.bias]
    arguments += [norm.scale if norm else None, norm.shift if norm else None, layout.near, t, qh, qw]
    grid = (min(CONV_BLOCKS, t * (qh // 8) * (qw // 8)), 1)
    defines = {"FIXED_QH": str(qh), "FIXED_QW": str(qw), "FIXED_C": "64"}
    launch("tile_conv.cu", "tile_conv", grid, 256, arguments, shared=CONV_SHARED, defines=defines, starts_early=True)
    return out, activated


def as_matrix(conv: Conv, layout: Layout) -> bool:
    """Whether a layer runs as a matrix product of its taps."""
    return conv.matrix is not None and not layout.whole


def taps_conv(taps: Tensor, conv: Conv, into: Tensor | None = None) -> Tensor:
    """A layer as a matrix product with what is added among its taps: [T, q, q, K] -> relu(layer), [T, q, q, Cout].

    `into`: where the result goes.
    """
    rows, matrix, out = taps.flatten(0, 2), conv.matrix, None if into is None else into.flatten(0, 2)
    assert matrix is not None
    if rows.is_cuda:
        out = torch._addmm_activation(conv.bias, rows, matrix, out=out)
    else:
        plain = F.relu(rows.float() @ matrix.float() + conv.bias.float()).half()
        out = plain if out is None else out.copy_(plain)
    return out.view(*taps.shape[:3], -1)


def takes_padded(conv: Conv, layout: Layout) -> bool:
    """Whether a layer takes padded tiles: a 3x3 layer of the library."""
    return conv.padding > 0 and not by_tiles(conv, layout) and not as_matrix(conv, layout)


# The library's: features are half [T, C, h, w], channels last.


def conv_relu(x: Tensor, conv: Conv, padding: int) -> Tensor:
    """relu(conv(x) + bias)."""
    if x.is_cuda:
        stride, pad = (conv.stride, conv.stride), (padding, padding)
        return torch.cudnn_convolution_relu(x, conv.weight, conv.bias, stride, pad, (1, 1), 1)  # type: ignore[attr-defined]
    return F.relu(plain(x, conv, padding)).half()


def conv_add_relu(x: Tensor, conv: Conv, padding: int, other: Tensor) -> Tensor:
    """relu(conv(x) + bias + other)."""
    if x.is_cuda:
        stride, pad = (conv.stride, conv.stride), (padding, padding)
        return torch.cudnn_convolution_add_relu(  # type: ignore[attr-defined]
            x, conv.weight, other, 1.0, conv.bias, stride, pad, (1, 1), 1
        )
    return F.relu(plain(x, conv, padding) + other.float()).half()


def conv_only(x: Tensor, conv: Conv, padding: int) -> Tensor:
    """conv(x) without the bias."""
    if x.is_cuda:
        return F.conv2d(x, conv.weight, None, conv.stride, padding)
    return F.conv2d(x.float(), conv.weight.float(), None, conv.stride, padding).half()


def plain(x: Tensor, conv: Conv, padding: int) -> Tensor:
    return F.conv2d(x.float(), conv.weight.float(), conv.bias.float(), conv.stride, padding)


def multiply(rows: Tensor, matrix: Tensor) -> Tensor:
    """A 1x1 layer: [M, Cin] @ [Cin, Cout]."""
    if rows.is_cuda:
        return torch.mm(rows, matrix)
    return (rows.float() @ matrix.float()).half()
