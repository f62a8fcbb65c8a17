"""The colours in use: the model's own, or a palette that was chosen."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from segstream.frames import Result
from segstream.palettes import PALETTES, palette


def palette_for(result: Result, name: str) -> NDArray[np.uint8]:
    """Colours of a result's classes. uint8 [K, 3], RGB; `name` "" is the model's own palette."""
    return _named(name, result.classes) if name in PALETTES else result.palette


def palette_of(name: str, classes: tuple[str, ...], own: tuple[tuple[int, int, int], ...]) -> NDArray[np.uint8]:
    """The same for a model of which no result is there yet. uint8 [K, 3], RGB."""
    if name in PALETTES:
        return _named(name, classes)
    return np.array(own, dtype=np.uint8).reshape(-1, 3)


@lru_cache(maxsize=32)
def _named(name: str, classes: tuple[str, ...]) -> NDArray[np.uint8]:
    return palette(name, classes)


def palette_names() -> list[str]:
    """Names of the palettes on offer."""
    return list(PALETTES)
