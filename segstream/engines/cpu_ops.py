"""Convolutions over rows of pixels [R, C] for the CPU engine, by torch alone.

Measured on two Zen 4 cores: oneDNN's 3x3 convolution runs small channels-last tiles at 40 to 100 GMAC/s, the less the
more channels they have. Winograd's F(4x4, 3x3) needs a quarter of the multiplications; its transforms and its core are
batches of small matrix products. Worked through in pieces that stay in the cache it takes 0.6 (64 channels) to 0.25
(512 channels) of the time of the direct convolution. oneDNN's grouped 1x1 convolution runs the core a fifth faster than
the batched product used here, but lays its weights out anew, for longer than the convolution itself takes, whenever the
count of patches suits another layout.

Source of the algorithm: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segstream.engines.cpu_tables import PATCH_ROUND, Level

CACHE_BYTES = 1_300_000  # of transformed input a core works on at a time, about its second-level cache

# 1D transforms by patch side m: input [m+2, m+2], kernel [m+2, 3], output [m, m+2], and the point whose column of the
# output transform is all ones, where a bias can be added before transforming.
TRANSFORMS: dict[int, tuple[list[list[float]], list[list[float]], list[list[float]]]] = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]],
        [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, 1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}


def transforms(m: int) -> tuple[Tensor, Tensor, Tensor]:
    """The 2D transforms as matrices: input [n*n, n*n], kernel [n*n, 9], output [m*m, n*n] with n = m + 2; float64."""
    two_sided = (np.kron(a, a) for a in map(np.array, TRANSFORMS[m]))
    to_input, to_kernel, to_output = (torch.from_numpy(a).double() for a in two_sided)
    return to_input, to_kernel, to_output


def packed_conv(weight: Tensor, bias: Tensor, stride: int, size: list[int]) -> Callable[[Tensor], Tensor]:
    """A convolution without padding and its ReLU, with weights that oneDNN has laid out beforehand if it is there.

    Args:
        weight: [K, C, k, k].
        bias: [K].
        stride: of both directions.
        size: [N, C, H, W] of a usual input, for which the layout is chosen.

    Returns:
        A function of x [N, C, H, W], channels last.
    """
    steps = [stride, stride]
    try:
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        packed = reorder(weight.contiguous().to_mkldnn(), [0, 0], steps, [1, 1], 1, size)
        run = torch.ops.mkldnn._convolution_pointwise

        def fused(x: Tensor) -> Tensor:
            return run(x, packed, bias, [0, 0], steps, [1, 1], 1, "relu", [], "")

        fused(torch.zeros(size).contiguous(memory_format=torch.channels_last))
        return fused
    except (AttributeError, RuntimeError):  # a torch without oneDNN, or with another interface to it
        plain_weight = weight.contiguous(memory_format=torch.channels_last)
        return lambda x: F.conv2d(x, plain_weight, bias, stride).relu_()


class Pointwise:
    """A 1x1 convolution of rows, or any matrix product with fixed weights.

    Args:
        weight: [K, C].
        bias: [K] or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.outputs, self.inputs = weight.shape
        self.weight = weight.T.contiguous()  # [C, K]
        self.bias = torch.zeros(self.outputs) if bias is None else bias

    def __call__(self, rows: Tensor, relu: bool = False, out: Tensor | None = None) -> Tensor:
        """[R, C] -> [R, K]."""
        y = torch.addmm(self.bias, rows, self.weight, out=out)
        return y.relu_() if relu else y


class Workspace:
    """Memory that is used again and again: allocating it anew for each layer costs more than some layers."""

    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """An uninitialised float32 tensor; what was taken by the same name before is overwritten."""
        count = int(np.prod(shape))
        buffer = self.buffers.get(name)
        if buffer is None or buffer.numel() < count:
            buffer = self.buffers[name] = torch.empty(count)
        return buffer[:count].view(shape)

    def clear(self) -> None:
        self.buffers.clear()


def pieces(count: int, most: int) -> list[tuple[int, int]]:
    """Cut `count` patches into pieces (start, length) of about equal length, at most `most`, multiples of 8."""
    parts = -(-count // max(PATCH_ROUND, most))
    length = -(-count // (parts * PATCH_ROUND)) * PATCH_ROUND if parts else 0
    return [(start, min(length, count - start)) for start in range(0, count, length)] if parts else []


class Conv3x3:
    """A 3x3 convolution of stride 1, by Winograd's algorithm where a tile's side is even.

    Args:
        weight: [K, C, 3, 3].
        bias: [K].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight = weight
        self.bias = bias
        self.outputs, self.inputs = weight.shape[:2]
        self.prepared: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self.direct: Pointwise | None = None

    def prepare(self, m: int) -> tuple[Tensor, Tensor, Tensor]:
        """The transforms and the transformed kernels [points, C, K] for patches of side m, made when first needed."""
        if m not in self.prepared:
            to_input, to_kernel, to_output = transforms(m)
            kernels = to_kernel @ self.weight.double().reshape(-1, 9).T  # [points, K*C]
            kernels = kernels.view(-1, self.outputs, self.inputs).transpose(1, 2).float().contiguous()
            self.prepared[m] = to_input.float(), kernels, to_output.float()
        return self.prepared[m]

    def __call__(
        self,
        rows: Tensor,
        level: Level,
        out: Tensor,
        work: Workspace,
        add: Tensor | None = None,
        relu: bool = True,
        then: Pointwise | None = None,
        patches: int | None = None,
    ) -> Tensor:
        """Convolve the rows of a level.

        Args:
            rows: [level.rows, C], finished.
            level: its tables.
            out: [>= level.pixels, K], or [.., then.outputs]: where the result goes.
            work: scratch memory.
            add: [>= level.pixels, K] to add before the activation.
            relu: apply ReLU.
            then: a 1x1 convolution to apply last, while the result is still in the cache.
            patches: how many to compute, a multiple of `PATCH_ROUND`; the rows of the others stay as they are in `out`.
                All where it is None.

        Returns:
            `out`.
        """
        if patches is None:
            patches = level.patches
        if level.m == 1:
            return self.run_direct(rows, level.windows[: patches * 9], out, work, add, relu, then)
        to_input, kernels, to_output = self.prepare(level.m)
        points, per_patch = len(to_input), level.m * level.m
        c, k = self.inputs, self.outputs
        most = CACHE_BYTES * torch.get_num_threads() // (4 * points * max(c, k))
        for start, count in pieces(patches, most):
            index = level.windows[start * points : (start + count) * points]
            patch = torch.index_select(rows, 0, index, out=work.take("gathered", count * points, c))
            # Transformed patch by patch: each is small enough to stay in the first-level cache.
            v = work.take("changed", count, points, c)
            torch.bmm(to_input.expand(count, -1, -1), patch.view(count, points, c), out=v)
            product = torch.bmm(v.transpose(0, 1), kernels, out=work.take("product", points, count, k))
            product[level.m + 3] += self.bias  # row 1, column 1: the output transform adds this point to every pixel
            product = product.transpose(0, 1)  # [count, points, K]
            here = slice(start * per_patch, (start + count) * per_patch)
            y = out[here].view(count, per_patch, k) if then is None else work.take("y", count, per_patch, k)
            if add is None:
                torch.bmm(to_output.expand(count, -1, -1), product, out=y)
            else:
                torch.baddbmm(add[here].view(count, per_patch, k), to_output.expand(count, -1, -1), product, out=y)
            if relu:
                y.relu_()
            if then is not None:
                then(y.view(-1, k), out=out[here])
        return out

    def run_direct(
        self,
        rows: Tensor,
        table: Tensor,
        out: Tensor,
        work: Workspace,
        add: Tensor | None,
        relu: bool,
        then: Pointwise | None,
    ) -> Tensor:
        """The same by gathering all nine pixels [pixels * 9]: for tiles too small to cut into patches."""
        if self.direct is None:
            weight = self.weight.permute(0, 2, 3, 1).reshape(self.outputs, 9 * self.inputs)
            self.direct = Pointwise(weight.contiguous(), self.bias)
        pixels = len(table) // 9
        gathered = work.take("gathered", pixels * 9, self.inputs)
        torch.index_select(rows, 0, table, out=gathered)
        y = out[:pixels] if then is None else work.take("y", pixels, self.outputs)
        self.direct(gathered.view(pixels, -1), relu and add is None, out=y)
        if add is not None:
            y += add[:pixels]
            if relu:
                y.relu_()
        if then is not None:
            then(y, out=out[:pixels])
        return out


class StridedConv:
    """A 3x3 convolution of stride 2 and the 1x1 of the shortcut beside it, over pixels gathered by one table.

    Args:
        weight: [K, C, 3, 3]; bias: [K].
        shortcut_weight: [K, C]; shortcut_bias: [K].
    """

    def __init__(self, weight: Tensor, bias: Tensor, shortcut_weight: Tensor, shortcut_bias: Tensor) -> None:
        self.outputs, self.inputs = weight.shape[:2]
        flat = weight.permute(0, 2, 3, 1).reshape(self.outputs, 9 * self.inputs).contiguous()
        self.conv = Pointwise(flat, bias)
        self.shortcut = Pointwise(shortcut_weight, shortcut_bias)

    def __call__(self, rows: Tensor, table: Tensor, out: Tensor, work: Workspace) -> Tensor:
        """Fill `out` [pixels of the coarser level.., K] with relu(conv) and return the shortcut [pixels, K]."""
        c = self.inputs
        pixels = len(table) // 9
        nine = work.take("gathered", pixels, 9 * c)
        torch.index_select(rows, 0, table, out=nine.view(-1, c))
        self.conv(nine, relu=True, out=out[:pixels])
        return self.shortcut(nine[:, 4 * c : 5 * c], out=work.take("shortcut", pixels, self.outputs))
