"""A drawn street: video of a drive through a town, any length, with the true label of every pixel.

`render(index)` draws one picture of an endless drive and depends on nothing but its arguments, so the same call gives
the same picture anywhere. It serves as the `demo` source, as training data that needs no download, and as test data.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from segstream.errors import UsageError
from segstream.palettes import CAMVID
from segstream.scenes.camera import View
from segstream.scenes.layout import draw_lots, draw_street
from segstream.scenes.looks import Look, make_look
from segstream.scenes.scenery import Scenery, make_scenery

__all__ = ["CLASSES", "FPS", "SMALLEST", "render"]

CLASSES = tuple(CAMVID)  # the labels count through CamVid's 11 classes
FPS = 30
SMALLEST = 32  # pixels of a side


def render(
    index: int, width: int = 960, height: int = 544, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw picture `index` of the drive `seed`.

    Args:
        index: position in the video, from 0; consecutive pictures are 1/30 s apart.
        width: pixels, at least 32.
        height: pixels, at least 32.
        seed: chooses the town: time of day, weather, colours, what stands where, which side one drives on.

    Returns:
        image uint8 [H, W, 3] RGB and labels uint8 [H, W], an index into `CLASSES` for every pixel.

    Raises:
        UsageError: if the picture would be too small or the index is negative.
    """
    if width < SMALLEST or height < SMALLEST:
        raise UsageError(f"the drawn street cannot be {width}x{height} pixels; both sides must be at least {SMALLEST}")
    if index < 0:
        raise UsageError(f"the drawn street has no picture {index}; the index starts at 0")
    look = _look(seed)
    scenery = _scenery(seed, width, height)
    view = View.at(index / FPS, width, height, look)
    canvas = scenery.backdrop(view)  # [H, W, 4]: red, green, blue, label
    scenery.ground(canvas, view)
    draw_lots(canvas, view, look, scenery)
    draw_street(canvas, view, look, scenery)
    labels = np.ascontiguousarray(canvas[..., 3])  # [H, W]
    return _expose(canvas, scenery, index), labels


@lru_cache(maxsize=8)
def _look(seed: int) -> Look:
    return make_look(seed)


@lru_cache(maxsize=4)
def _scenery(seed: int, width: int, height: int) -> Scenery:
    return make_scenery(_look(seed), width, height)


def _expose(canvas: NDArray[np.uint8], scenery: Scenery, index: int) -> NDArray[np.uint8]:
    """What a lens and a sensor do to the picture: soft edges and noise."""
    image = cv2.cvtColor(canvas, cv2.COLOR_RGBA2RGB)  # [H, W, 3]
    image = cv2.GaussianBlur(image, (3, 3), 0.7)
    noise = scenery.noise_for(index)  # uint8 [H, W, 3] around 128
    return cv2.addWeighted(image, 1.0, noise, 1.0, -128.0)  # type: ignore[return-value]
