"""Our own 3x3 convolution on tiles, with BlockPad in its loader (kernels/conv.cu), for levels of small tiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from segstream.kernels.launcher import Argument, launch

STEP = 64  # channels of a step of the matrix product
FIRST_STRIDE = 64  # of the network, from which on this convolution is the faster one; 64: nowhere yet, see NOTES.md


@dataclass(frozen=True, slots=True)
class Shape:
    """How the work is cut: tile of the result, stages of the pipeline, blocks that share a tile's sum, warps."""

    m: int = 128
    n: int = 128
    stages: int = 3
    split: int = 1
    warps: int = 8
    blocks: int = 1  # that are to fit on a multiprocessor
    overlap: int = 0
    wgmma: bool = True
    near: bool = True  # keep what the taps read in the L1 cache
    bulk: bool = False  # weights by bulk copies
    fence: bool = True

    def defines(self) -> dict[str, str]:
        values: dict[str, int] = {"TILE_M": self.m, "TILE_N": self.n, "STAGES": self.stages, "SPLIT": self.split}
        values |= {"WARPS": self.warps, "MIN_BLOCKS": self.blocks, "OVERLAP": self.overlap}
        found = {name: str(value) for name, value in values.items()}
        found["KEEP_IN_L1"] = "true" if self.near else "false"
        found |= {"BULK": "1"} if self.bulk else {}
        found |= {} if self.fence else {"NO_FENCE": "1"}
        return found if self.wgmma else {**found, "NO_WGMMA": "1"}

    def shared(self, q: int, stride: int) -> int:
        """Bytes of shared memory."""
        tiles = self.m // (q * q) if self.m % (q * q) == 0 else (self.m + q * q - 2) // (q * q) + 1
        room = max(self.stages * (self.m + self.n) * 2 * STEP, self.m * (self.n + 8) * 4)  # of stages, then of sums
        return room + 8 * self.stages + 4 * tiles * (stride * (q - 1) + 3) ** 2


def fits(weight: Tensor) -> bool:
    """Whether the kernel takes a layer with this weight [Cout, Cin, k, k]."""
    return weight.shape[0] % 128 == 0 and weight.shape[1] % STEP == 0 and weight.shape[2:] == (3, 3)


def prepack(weight: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """Weights in the order of the steps.

    Args:
        weight: half [Cout, Cin, 3, 3].
        shortcut: half [Cskip, Cout], of a 1x1 stride-2 layer that is added.

    Returns:
        half [Cin/64 * 9 + Cskip/64, Cout, 64], the pieces of 8 channels of a row permuted as in shared memory: piece p
        stands at p ^ (row % 8).
    """
    outputs, inputs = weight.shape[:2]
    packed = weight.reshape(outputs, inputs // STEP, STEP, 9).permute(1, 3, 0, 2).reshape(-1, outputs, STEP)
    if shortcut is not None:
        packed = torch.cat([packed, shortcut.reshape(-1, STEP, outputs).transpose(1, 2)])
    row, place = torch.arange(outputs, device=weight.device)[:, None], torch.arange(8, device=weight.device)
    return packed.view(-1, outputs, 8, 8)[:, row, place ^ row % 8].reshape(-1, outputs, STEP)


@cache
def processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; 1 for the CPU."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def serves(device: torch.device, stride: int, q: int) -> bool:
    """Whether the engine runs tiles of side q at a stride of the network by this kernel, or else by cuDNN.

    Measured on Hopper only, so elsewhere cuDNN does.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) != (9, 0):
        return False
    return stride >= FIRST_STRIDE and q in (1, 2, 4, 8)


def choose_shape(rows: int, outputs: int, steps: int, device: torch.device) -> Shape:
    """How to cut a layer with so many rows, output channels and steps of K: the split with the shortest longest way."""
    if device.type == "cpu" or torch.cuda.get_device_capability(device)[0] < 9:  # no clusters there
        return Shape(n=64, stages=2, wgmma=False)
    tiles = -(-rows // 128) * (outputs // 128)

    def length(split: int) -> float:
        waves = -(-tiles * split // processors(device))
        return waves * (-(-steps // split)) + 1.5 * split + 3.0 * waves

    return Shape(stages=3, blocks=2, split=min(range(1, 9), key=length))


def conv3x3(
    x: Tensor,
    weights: Tensor,
    bias: Tensor,
    near: Tensor,
    q: int,
    *,
    shape: Shape | None = None,
    stride: int = 1,
    n_high: int = 0,
    means: bool = False,
    padded: bool = False,
    relu: bool = True,
    other: Tensor | None = None,
    skip: Tensor | None = None,
    norm: tuple[Tensor, Tensor] | None = None,
    early: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """relu(conv(BlockPad(x)) + bias + other + shortcut(skip)).

    Args:
        x: half [T * (stride*q)^2, Cin] rows, then n_high * (stride*q)^2 mean rows where `means`; where `padded`, rows
            of tiles that BlockPad has been through, [T * (stride*q + 2)^2, Cin].
        weights: of `prepack`.
        bias: half [Cout].
        near: int32 [T, 8], see kernels/common.cuh.
        q: side of a tile of the result.
        shape: how the work is cut; chosen by the layer's size if not given.
        n_high: number of high blocks; the result has mean rows for them.
        other: half [T*q*q (or more), Cout], added.
        skip: half [T*(2q)^2 (or more), Cskip], the input of the shortcut.
        norm: float [Cout] scale and shift of a batch norm with ReLU after the result.
        early: look up sources and fetch weights while the kernel before ends; not right after another stream's work.

    Returns:
        half [T*q*q + n_high*q*q, Cout], rows and mean rows; half [T*q*q, Cout], relu(norm(rows)), or None.
    """
    t, inputs, outputs = near.shape[0], x.shape[1], weights.shape[1]
    shape = shape or choose_shape(t * q * q, outputs, weights.shape[0], x.device)
    bits = q.bit_length() - 1 if q & (q - 1) == 0 and shape.m % (2 * q) == 0 else -1
    out = x.new_empty((t + n_high) * q * q, outputs)
    activated = x.new_empty(t * q * q, outputs) if norm else None
    scale, shift = norm if norm else (None, None)
    arguments: list[Argument] = [x, weights, bias, other, skip, out, activated, scale, shift, near]
    arguments += [q, stride, inputs, outputs, 0 if skip is None else skip.shape[1], t, n_high]
    arguments += [int(means), int(padded), bits, int(relu)]
    grid = (-(-t * q * q // shape.m) * shape.split, outputs // shape.n)
    launch(
        "conv.cu",
        "conv3x3",
        grid,
        32 * shape.warps,
        arguments,
        shared=shape.shared(q, stride),
        defines=shape.defines(),
        starts_early=early,
    )
    return out, activated
