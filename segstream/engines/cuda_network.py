"""SwiftNet on uniform tiles (or dense) for the CUDA engine: library convolutions, our kernels for the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from segstream.engines import cuda_glue as glue
from segstream.engines.cuda_convs import (
    as_matrix,
    by_tiles,
    conv_add_relu,
    conv_only,
    conv_relu,
    multiply,
    takes_padded,
    taps_conv,
    tile_conv,
)
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
    x, padded, layout = glue.stem(frame, norm, weights, layout, pad=takes_padded(weights.levels[0][0].convs[0], layout))
    x, skips = encode(x, padded, weights, layout)
    steps = list(zip(weights.upsample, reversed(skips), strict=True))
    begun = [aside(skip, step.skip) for step, skip in steps[:-1]]  # beside the pyramid's small kernels
    x = pyramid(x, weights, layout)
    added = [wait() for wait in begun]
    largest = aside(skips[0], steps[-1][0].skip)  # beside the first step
    for i, (step, _) in enumerate(steps):
        skip = added[i] if i < len(added) else largest()
        # What follows a wait for the other stream must not start early.
        deep = as_matrix(step.blend, layout)
        x = glue.enlarge_add(x, skip, step.norm, layout, as_taps=deep, starts_early=0 < i < len(added))
        if deep:
            x = one_by_one(x, step.blend.matrix)
        else:
            x = rows_of(conv_only(tiles_of(x), step.blend, 1 - layout.pad))
    return glue.frame_logits(x, weights, layout)


def one_by_one(x: Tensor, matrix: Tensor | None) -> Tensor:
    """A 1x1 layer: [T, q, q, Cin] -> [T, q, q, Cout]."""
    assert matrix is not None
    return multiply(x.reshape(-1, x.shape[-1]), matrix).view(*x.shape[:-1], matrix.shape[1])


@cache
def side_stream(device: torch.device, main: int) -> torch.cuda.Stream:
    """A stream beside the stream whose handle is `main`: while one engine captures, another must not wait for it."""
    return torch.cuda.Stream(device)


def aside(x: Tensor, matrix: Tensor) -> Callable[[], Tensor]:
    """Start a 1x1 layer beside what the current stream does next; the function returned waits and gives the result.

    Args:
        x: [T, q, q, Cin].
        matrix: [Cin, Cout].

    The caller keeps `x` until then. The side stream first waits for the current one, so memory that either reuses is
    no longer in use.
    """
    if not x.is_cuda:
        result = one_by_one(x, matrix)
        return lambda: result
    main = torch.cuda.current_stream(x.device)
    side = side_stream(x.device, main.cuda_stream)
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
        padded: the same, padded if the first layer takes it so.

    Returns:
        What each decoder step and the pyramid take: relu(norm(features)), at stride 32 and at strides 4, 8 and 16.
    """
    norms = [step.skip_norm for step in reversed(weights.upsample)]
    if not layout.local:
        norms.append(weights.pyramid.first_norm)
    even: Tensor | None = None
    activated: list[Tensor] = []
    all_low = layout.first_low == 0 and not layout.whole
    levels = [[block for block in level if not (all_low and block.high_only)] for level in weights.levels]
    blocks = [block for level in levels for block in level]
    ends = {sum(len(level) for level in levels[: i + 1]) - 1: norm for i, norm in enumerate(norms)}
    for i, block in enumerate(blocks):
        norm: Norm | None = ends.get(i)
        x, extra = residual(x, padded, even, block, norm, layout)
        if extra is not None:
            activated.append(extra)
            norm = None
        following = blocks[i + 1] if i + 1 < len(blocks) else None
        # All tiles where there is a norm, or `even` is asked for: what follows then is the first block of a level.
        taken = x if following is None else tiles_for(following, x, layout)
        if following is not None and as_matrix(following.convs[0], layout):
            padded, extra = glue.taps(taken, layout, stride=following.convs[0].stride, norm=norm)
            c = x.shape[-1]
            even = padded[..., 4 * c : 5 * c] if following.shortcut_stride == 2 else None  # the middle one of the taps
        else:
            padded, even, extra = glue.features(
                taken,
                layout,
                pad=following is not None and takes_padded(following.convs[0], layout),
                even=following is not None and following.shortcut_stride == 2,
                norm=norm,
            )
        if extra is not None:
            activated.append(extra)
    return (x, activated) if layout.local else (activated[-1], activated[:-1])


def runs_alone(block: Block, layout: Layout) -> bool:
    """Whether a residual block runs on the high tiles alone, while there are low ones too."""
    return block.high_only and layout.mixed


def tiles_for(block: Block, x: Tensor, layout: Layout) -> Tensor:
    """The tiles of x [T, q, q, C] that a residual block runs on, without a copy.

    Kernels that are given the high ones alone find the low ones beside them by their numbers, behind them in memory.
    """
    return x[: layout.first_low] if runs_alone(block, layout) else x


def residual(
    x: Tensor, first: Tensor, even: Tensor | None, block: Block, norm: Norm | None, layout: Layout
) -> tuple[Tensor, Tensor | None]:
    """A residual block, and relu(norm) of its result where that costs no further pass.

    A block that runs on the high tiles alone writes its result in their place, so that nothing of low ones is copied.
    Nobody else has use for x by then.

    Args:
        x: [T, q, q, C].
        first: what the block's first layer takes: the same padded, or its taps, or x itself; `tiles_for` the block.
        even: every second pixel of x, if a 1x1 layer takes it from there.
    """
    features, inner = x, layout
    into: Tensor | None = None
    if runs_alone(block, layout):
        # The layers after the first see zeros beside low tiles, for which there is nothing between the layers.
        x = into = tiles_for(block, x, layout)
        inner, norm = layout.among_high, None
    shortcut = lambda: x  # noqa: E731
    if block.shortcut is not None and not as_matrix(block.convs[-1], layout):
        shortcut = aside(x if even is None else even, block.shortcut)
    out, activated = first, None
    for i, conv in enumerate(block.convs):
        last = i + 1 == len(block.convs)
        if as_matrix(conv, layout):
            if i:
                added = x if last else None
                out, _ = glue.taps(out, inner, stride=conv.stride, added=added, step=block.shortcut_stride)
            out = taps_conv(out, conv, into if last else None)
        elif by_tiles(conv, layout):
            around, added = inner if i else layout, shortcut() if last else None
            out, activated = tile_conv(out, conv, around, added, norm if last else None, into if last else None)
        else:
            if i and conv.padding:
                out = glue.features(out, inner, pad=True)[0]
            padding = conv.padding - layout.pad if conv.padding else 0
            if last:
                out = rows_of(conv_add_relu(tiles_of(out), conv, padding, tiles_of(shortcut())))
            else:
                out = rows_of(conv_relu(tiles_of(out), conv, padding))
            if last and into is not None:
                glue.put(out, into)  # the library does not write where it is told
    return out if into is None else features, activated


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
