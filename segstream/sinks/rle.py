"""Masks in COCO's compressed run-length encoding (https://github.com/cocodataset/cocoapi, common/maskApi.c)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def coco_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Encode one mask.

    Args:
        mask: bool [H, W].

    Returns:
        {"size": [H, W], "counts": text}, as pycocotools reads and writes it.
    """
    flat = np.asarray(mask, dtype=bool).ravel(order="F")  # runs go down the columns
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate(([0], changes, [flat.size]))
    counts = np.diff(bounds)
    if flat.size and flat[0]:
        counts = np.concatenate(([0], counts))  # the first run is of zeros
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": _compress(counts.tolist())}


def _compress(counts: list[int]) -> str:
    """Five bits a character, from 48 up; from the fourth run on the difference to the run two before."""
    out = []
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        while True:
            bits = value & 0x1F
            value >>= 5
            more = value != -1 if bits & 0x10 else value != 0
            out.append(chr((bits | 0x20 if more else bits) + 48))
            if not more:
                break
    return "".join(out)
