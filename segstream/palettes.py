"""Colours of classes: the palettes of the datasets, and one for eyes that confuse colours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from segstream.errors import UsageError

Colour = tuple[int, int, int]

# The classes of the datasets, in the order of their indices, with their colours: the one place for both.
CAMVID: dict[str, Colour] = {
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (60, 40, 222),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}
CITYSCAPES: dict[str, Colour] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
# Lightness does the work here, because it is what every eye sees; `tests/segstream/test_palettes.py` simulates three
# kinds of colour blindness and holds any two colours apart.
SAFE: dict[str, Colour] = {
    "sky": (170, 216, 245),
    "building": (138, 134, 130),
    "pole": (255, 255, 191),
    "road": (58, 36, 92),
    "sidewalk": (212, 142, 196),
    "vegetation": (0, 108, 70),
    "traffic sign": (238, 158, 0),
    "fence": (110, 70, 20),
    "car": (0, 92, 200),
    "person": (214, 66, 0),
    "rider": (240, 228, 66),
}
# What the datasets call the same thing, as the names used above in lower case.
_SAME = {
    "pavement": "sidewalk",
    "tree": "vegetation",
    "signsymbol": "traffic sign",
    "pedestrian": "person",
    "bicyclist": "rider",
}
_NAMED: dict[str, dict[str, Colour]] = {
    "camvid": {_SAME.get(name.lower(), name.lower()): colour for name, colour in CAMVID.items()},
    "cityscapes": CITYSCAPES,
    "safe": SAFE,
}
PALETTES = tuple(_NAMED)


def palette(name: str, classes: Sequence[str]) -> NDArray[np.uint8]:
    """Colours for a model's classes; classes that the palette does not know get colours that differ from all others.

    Args:
        name: "camvid", "cityscapes" or "safe" (for colour-blind eyes).
        classes: class names by index.

    Returns:
        uint8 [K, 3], RGB.

    Raises:
        UsageError: if there is no palette of that name.
    """
    if name not in _NAMED:
        raise UsageError(f"there is no palette {name!r}; use one of {', '.join(PALETTES)}")
    known = _NAMED[name]
    keys = [_SAME.get(c.lower().strip(), c.lower().strip()) for c in classes]
    colours = [known.get(key) for key in keys]
    taken = tuple(dict.fromkeys(c for c in colours if c is not None))
    spare = iter(_extend(taken, sum(c is None for c in colours)))
    return np.array([next(spare) if c is None else c for c in colours], np.uint8).reshape(-1, 3)


def distinct(count: int) -> NDArray[np.uint8]:
    """`count` colours that differ from one another, also for colour-blind eyes. uint8 [count, 3]"""
    return np.array(_extend((), count), np.uint8).reshape(-1, 3)


@lru_cache(maxsize=64)
def _extend(taken: tuple[Colour, ...], count: int) -> tuple[Colour, ...]:
    """`count` further colours, each as far as can be from those before it in every kind of sight."""
    levels = np.linspace(16, 250, 9).round()
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)  # [729, 3]
    seen = sights(candidates)  # [kinds, 729, 3]
    nearest = np.full(len(candidates), np.inf)
    for colour in taken:
        nearest = np.minimum(nearest, _distance(seen, sights(np.array([colour], float))))
    chosen: list[Colour] = []
    for _ in range(count):
        best = int(nearest.argmax()) if taken or chosen else int(candidates[:, 2].argmax())
        r, g, b = candidates[best].astype(int).tolist()
        chosen.append((r, g, b))
        nearest = np.minimum(nearest, _distance(seen, seen[:, best : best + 1]))
    return tuple(chosen)


def _distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest distance over the kinds of sight. [kinds, N, 3], [kinds, 1, 3] -> [N]"""
    return np.linalg.norm(a - b, axis=-1).min(axis=0)  # type: ignore[no-any-return]


# Machado, Oliveira and Fernandes (2009), severity 1: normal sight, protanopia, deuteranopia, tritanopia; linear RGB.
_SIGHTS = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def sights(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours [N, 3] in 0..255 as CIELAB in four kinds of sight, normal first. [4, N, 3]"""
    share = np.asarray(colours, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.einsum("sij,nj->sni", _SIGHTS, linear), 0, 1)
    ratio = np.clip(seen @ _TO_XYZ.T / _WHITE, 0, None)
    root = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
