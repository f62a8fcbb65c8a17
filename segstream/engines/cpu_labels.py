"""Class of every pixel of the frame from logits at stride 4, without enlarging the logits.

The result is that of bilinear enlargement followed by argmax. Between four logits that agree on the largest class,
every interpolated pixel has that class too (its logits are weighted means of the four, with weights that are not
negative), so only pixels between logits that disagree need to be interpolated: on street scenes about a tenth of them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AT_ONCE = 1 << 15  # pixels interpolated at a time, so that they stay in the cache


@lru_cache(maxsize=16)
def taps(size: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """For `size` pixels enlarged from `count`: index of the nearer ones before and after, and the weight of the second.

    As torch's bilinear interpolation without aligned corners.
    """
    at = np.maximum((np.arange(size) + 0.5) * (count / size) - 0.5, 0)
    first = np.minimum(at.astype(np.int32), count - 1)
    return first, np.minimum(first + 1, count - 1), (at - first).astype(np.float32)


def to_labels(logits: Tensor, frame: tuple[int, int]) -> NDArray[np.uint8]:
    """Enlarge logits bilinearly to the frame and take the largest.

    Args:
        logits: float32 [h, w, K], of the part of the network's input that holds the frame.
        frame: height and width of the frame.

    Returns:
        uint8 [H, W].
    """
    height, width, classes = logits.shape
    y0, y1, fy = taps(frame[0], height)
    x0, x1, fx = taps(frame[1], width)
    best = logits.argmax(2).to(torch.uint8).numpy()  # [h, w]
    mixed = differing(best)
    labels = best.take(x0, axis=1).take(y0, axis=0)
    where = np.flatnonzero(mixed.take(x0, axis=1).take(y0, axis=0))
    rows = logits.reshape(height * width, classes)
    flat = labels.reshape(-1)
    for start in range(0, len(where), AT_ONCE):
        here = where[start : start + AT_ONCE]
        y, x = np.divmod(here, frame[1])
        down, right = torch.from_numpy(fy[y])[:, None], torch.from_numpy(fx[x])[:, None]

        def row(ys: NDArray[np.int32], xs: NDArray[np.int32], y: NDArray, x: NDArray) -> Tensor:
            return rows.index_select(0, torch.from_numpy(ys[y] * width + xs[x]))

        above = torch.lerp(row(y0, x0, y, x), row(y0, x1, y, x), right)
        below = torch.lerp(row(y1, x0, y, x), row(y1, x1, y, x), right)
        flat[here] = torch.lerp(above, below, down).argmax(1).numpy()
    return labels


def differing(best: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """bool [h, w]: whether a logit's class differs from one of those to its right and below."""
    across = best[:, :-1] != best[:, 1:]
    down = best[:-1] != best[1:]
    mixed = np.zeros(best.shape, dtype=bool)
    mixed[:, :-1] = across
    mixed[:-1, :-1] |= across[1:]
    mixed[:-1] |= down
    mixed[:-1, :-1] |= down[:, 1:]
    return mixed
