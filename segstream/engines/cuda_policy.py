"""Choosing the blocks on the GPU: scores, their ranking, and the map of tiles that follows."""

from __future__ import annotations

import torch
from torch import Tensor

from segstream.blocks.detail import detail, log_detail
from segstream.engines.cuda_convs import conv_only, conv_relu
from segstream.engines.cuda_weights import Conv
from segstream.geometry import Geometry
from segstream.kernels.launcher import launch
from segstream.kernels.ops import THREADS

PIXELS_PER_BLOCK = 32  # that the policy network sees, along each axis
CHANNELS = 8  # of its input, so that the library's fast kernels take it


def frame_norm(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> Tensor:
    """float [6]: offsets and gains that normalise bytes."""
    values = [255 * m for m in mean] + [1 / (255 * s) for s in std]
    return torch.tensor(values, dtype=torch.float32, device=device)


def policy_step(geometry: Geometry) -> int:
    """The learned policy looks at every which row and column of the frame."""
    return geometry.block // PIXELS_PER_BLOCK


def policy_scores(
    frame: Tensor, norm: Tensor, convs: tuple[Conv, ...], geometry: Geometry, weight: float | None = None
) -> Tensor:
    """The learned policy: frame uint8 [h, w, 3] -> scores float [GH, GW], 0..1; `weight` is that of the detail."""
    rows, columns = geometry.rows * PIXELS_PER_BLOCK, geometry.columns * PIXELS_PER_BLOCK
    small = torch.empty(1, rows, columns, CHANNELS, dtype=torch.float16, device=frame.device)
    grid = (-(-small.numel() // THREADS), 1)
    height, width, _ = frame.shape
    step = policy_step(geometry)
    launch(
        "frame.cu", "policy_input", grid, THREADS, [frame, norm, small, height, width, rows, columns, step, CHANNELS]
    )
    x = small.permute(0, 3, 1, 2)
    *hidden, last = convs
    for conv in hidden:
        x = conv_relu(x, conv, conv.padding)
    logits = conv_only(x, last, last.padding)[0, 0].float() + last.bias.float()
    if weight is not None:
        logits = logits + weight * log_detail(network_input(frame, norm, geometry), geometry.block)[0]
    return logits.sigmoid()


def heuristic_scores(frame: Tensor, norm: Tensor, geometry: Geometry) -> Tensor:
    """The heuristic policy: frame uint8 [h, w, 3] -> scores float [GH, GW], 0..1."""
    return detail(network_input(frame, norm, geometry), geometry.block)[0]


def network_input(frame: Tensor, norm: Tensor, geometry: Geometry) -> Tensor:
    """A frame uint8 [h, w, 3] as the network takes it, normalised and padded: float32 [1, 3, GH*block, GW*block]."""
    rows, columns = geometry.network
    x = torch.empty(1, 3, rows, columns, dtype=torch.float32, device=frame.device)
    height, width, _ = frame.shape
    grid = (-(-rows * columns // THREADS), 1)
    launch("frame.cu", "normalise", grid, THREADS, [frame, norm, x, height, width, rows, columns])
    return x


def rank_blocks(scores: Tensor, limits: Tensor, rank: Tensor, count: Tensor) -> None:
    """Rank blocks by score and count those that may be high.

    Args:
        scores: float [GH, GW].
        limits: float [2], the threshold and the most blocks that may be high; may be page-locked host memory.
        rank: int32 [GH*GW], written: 0 for the highest score.
        count: int32 [1], written.
    """
    count.zero_()
    grid = (-(-rank.numel() // THREADS), 1)
    launch("frame.cu", "rank_blocks", grid, THREADS, [scores.contiguous(), limits, rank, count, rank.numel()])


def rank_map(rank: Tensor, high: Tensor, blocks: Tensor, tiles: Tensor, n_high: int) -> None:
    """The grid and the tables of the `n_high` blocks that rank highest.

    Args:
        rank: int32 [GH*GW].
        high: uint8 [GH, GW], written.
        blocks: int32 [1, GH, GW], written; see `segstream.kernels.ops`.
        tiles: int32 [T], written.
        n_high: how many blocks are high.
    """
    _, rows, columns = blocks.shape
    grid = (-(-rank.numel() // THREADS), 1)
    launch("frame.cu", "rank_map", grid, THREADS, [rank, high, blocks, tiles, n_high, rank.numel(), rows, columns])
