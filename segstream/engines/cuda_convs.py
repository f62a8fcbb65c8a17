"""The convolutions of the CUDA engine: cuDNN's, with bias, addition and ReLU fused; on the CPU their plain twins.

Features are half [T, C, h, w], channels last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segstream.engines.cuda_weights import Conv


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
