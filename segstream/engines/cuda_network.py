"""SwiftNet on uniform tiles (or dense) for the CUDA engine: library convolutions, our kernels for the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from segstream.engines import cuda_glue as glue
from segstream.engines.cuda_convs import conv_add_relu, conv_only, conv_relu, multiply
from segstream.engines.cuda_glue import Layout, rows_of, tiles_of
from segstream.engines.cuda_weights import Block, Norm, Weights


def run(frame: Tensor, norm: Tensor, weights: Weights, layout: Layout) -> Tensor:
    """Logits of a frame.

    Args:
        frame: uint8 [h, w, 3], already scaled; what the network input has beyond it is padding.
        norm: float [6], offsets (0..255) and gains of the three channels.
        weights: the network's.
        layout: where the tiles are.

    Returns:
        half [H/4, W/4, padded classes] over the whole network input.
    """
    x, padded, layout = glue.stem(frame, norm, weights, layout)
    x, skips = encode(x, padded, weights, layout)
    steps = list(zip(weights.upsample, reversed(skips), strict=True))
    added = [aside(skip, step.skip) for step, skip in steps]  # beside the pyramid's small kernels
    x = pyramid(x, weights, layout)
    for (step, _), wait in zip(steps, added, strict=True):
        padded = glue.enlarge_add(x, wait(), step.norm, layout)
        x = rows_of(conv_only(tiles_of(padded), step.blend, 1 - layout.pad))
    return glue.combine(glue.class_logits(x, weights), layout)


def one_by_one(x: Tensor, matrix: Tensor) -> Tensor:
    """A 1x1 layer: [T, q, q, Cin] -> [T, q, q, Cout]."""
    return multiply(x.reshape(-1, x.shape[-1]), matrix).view(*x.shape[:-1], matrix.shape[1])


@cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def aside(x: Tensor, matrix: Tensor) -> Callable[[], Tensor]:
    """Start a 1x1 layer beside what the current stream does next; the function returned waits and gives the result.

    The caller keeps `x` until then. The side stream first waits for the current one, so memory that either reuses is
    no longer in use.
    """
    if not x.is_cuda:
        result = one_by_one(x, matrix)
        return lambda: result
    main, side = torch.cuda.current_stream(x.device), side_stream(x.device)
    side.wait_stream(main)
    with torch.cuda.stream(side):
        result = one_by_one(x, matrix)

    def wait() -> Tensor:
        main.wait_stream(side)
        return result

    return wait


def encode(x: Tensor, padded: Tensor, weights: Weights, layout: Layout) -> tuple[Tensor, list[Tensor]]:
    """The encoder after its stem.

    Args:
        x: [T, q, q, 64] at stride 4.
        padded: the same padded.

    Returns:
        What each decoder step and the pyramid take: relu(norm(features)), at stride 32 and at strides 4, 8 and 16.
    """
    if not weights.levels[0][0].convs[0].padding:
        padded = x
    norms = [step.skip_norm for step in reversed(weights.upsample)]
    if not layout.local:
        norms.append(weights.pyramid.first_norm)
    even: Tensor | None = None
    activated: list[Tensor] = []
    blocks = [block for level in weights.levels for block in level]
    ends = {sum(len(level) for level in weights.levels[: i + 1]) - 1: norm for i, norm in enumerate(norms)}
    for i, block in enumerate(blocks):
        x = residual(x, padded, even, block, layout)
        following = blocks[i + 1] if i + 1 < len(blocks) else None
        norm: Norm | None = ends.get(i)
        padded, even, extra = glue.features(
            x,
            layout,
            pad=following is not None and following.convs[0].padding > 0,
            even=following is not None and following.shortcut_stride == 2,
            norm=norm,
        )
        if extra is not None:
            activated.append(extra)
    return (x, activated) if layout.local else (activated[-1], activated[:-1])


def residual(x: Tensor, padded: Tensor, even: Tensor | None, block: Block, layout: Layout) -> Tensor:
    """A residual block: x [T, q, q, C], `padded` the same padded for a 3x3 layer, `even` every second pixel of it."""
    shortcut = (lambda: x) if block.shortcut is None else aside(x if even is None else even, block.shortcut)
    out = tiles_of(padded)
    for i, conv in enumerate(block.convs):
        own_padding = conv.padding - layout.pad if conv.padding else 0
        if i and conv.padding:
            out = tiles_of(glue.features(rows_of(out), layout, pad=True)[0])
        if i + 1 < len(block.convs):
            out = conv_relu(out, conv, own_padding)
        else:
            out = conv_add_relu(out, conv, own_padding, tiles_of(shortcut()))
    return rows_of(out)


def pyramid(x: Tensor, weights: Weights, layout: Layout) -> Tensor:
    """Spatial pyramid pooling on relu(norm(features)): [T, q, q, C] -> [T, q, q, width].

    Block-local networks take the bare features instead: as the authors do, all is combined, run dense and sampled.
    """
    if layout.local:
        dense = glue.combine(x, layout)
        whole = glue.dense_layout((32 * dense.shape[0], 32 * dense.shape[1]), x.device)
        _, _, activated = glue.features(dense[None], whole, pad=False, norm=weights.pyramid.first_norm)
        assert activated is not None
        return glue.sample(pyramid(activated, weights, whole)[0], layout)
    x = one_by_one(x, weights.pyramid.first)
    return one_by_one(glue.pyramid_input(x, weights.pyramid, layout), weights.pyramid.fuse)
