"""From a result to the pixels of the window, without Qt and outside the window's thread.

Everything is done at the size it is shown in: a 4K frame in a small window costs what the window costs. OpenCV does
the work and releases the interpreter while it does.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segstream.frames import Result
from segstream.ui.geometry import Placement
from segstream.ui.state import Settings

_HIDDEN_MASK_COLOUR = (24, 22, 20)  # where a hidden class would be, in the mask view; B, G, R
_PIXELS_FROM = 4.0  # device pixels per frame pixel from which single pixels are shown as squares


@dataclass(frozen=True)
class Request:
    """All that a picture depends on, so that a worker needs nothing else.

    Attributes:
        palette: uint8 [K, 3], RGB.
        hidden: classes that are not painted, by index.
        grid: the blocks are drawn.
        ratio: device pixels per logical one, for the width of lines.
    """

    result: Result
    palette: NDArray[np.uint8]
    hidden: frozenset[int]
    view: str
    alpha: float
    place: Placement
    grid: bool = False
    ratio: float = 1.0


@dataclass(frozen=True)
class Look:
    """How results are shown; see `segstream.ui.state.Settings`."""

    view: str = "overlay"
    alpha: float = 0.5
    grid: bool = True
    divider: float = 0.5
    hidden: frozenset[str] = frozenset()

    def request(self, result: Result, palette: NDArray[np.uint8], place: Placement, ratio: float = 1.0) -> Request:
        """What a worker needs to make the pixels; palette uint8 [K, 3] RGB."""
        hidden = frozenset(i for i, name in enumerate(result.classes) if name in self.hidden)
        return Request(result, palette, hidden, self.view, self.alpha, place, self.grid, ratio)


def look_of(settings: Settings) -> Look:
    """The part of the settings that says how results are shown."""
    return Look(settings.view, settings.alpha, settings.grid, settings.divider, settings.hidden)


@dataclass(frozen=True)
class Picture:
    """The visible part of the frame in device pixels.

    Attributes:
        request: what it was made from.
        crop: x0, y0, x1, y1: which part of the frame.
        source: uint8 [h, w, 4] B, G, R, unused; None where the view does not show it.
        painted: the same with the class colours; None where the view does not show it.
    """

    request: Request
    crop: tuple[int, int, int, int]
    source: NDArray[np.uint8] | None
    painted: NDArray[np.uint8] | None


def compose(request: Request) -> Picture:
    """Make the picture of a request."""
    place, view = request.place, request.view
    x0, y0, x1, y1 = crop = place.visible()
    if x1 <= x0 or y1 <= y0:
        return Picture(request, crop, None, None)
    _, _, width, height = place.rect(*crop)
    source: NDArray[np.uint8] | None = None
    if view != "mask":
        scaled = _scaled(request.result.frame.image[y0:y1, x0:x1], width, height, min(place.scales))
        source = np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2BGRA), dtype=np.uint8)
    if view == "source":
        return Picture(request, crop, source, None)
    part = np.ascontiguousarray(request.result.labels[y0:y1, x0:x1])
    labels = cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST)
    painted = paint(
        np.asarray(labels, dtype=np.uint8),
        source,
        request.palette,
        request.hidden,
        1.0 if view == "mask" else request.alpha,
    )
    return Picture(request, crop, source if view == "split" else None, painted)


def paint(
    labels: NDArray[np.uint8],  # [h, w]
    source: NDArray[np.uint8] | None,  # [h, w, 4] B, G, R, unused
    palette: NDArray[np.uint8],  # [K, 3] RGB
    hidden: frozenset[int],
    alpha: float,
) -> NDArray[np.uint8]:
    """Lay class colours over a picture (over nothing, when there is none); hidden classes keep the picture.

    Returns:
        uint8 [h, w, 4] B, G, R, unused.
    """
    table = np.full((1, 256, 4), 255, dtype=np.uint8)
    table[0, : len(palette), :3] = palette[:, ::-1]
    for index in hidden:
        table[0, index, :3] = _HIDDEN_MASK_COLOUR
    colours = cv2.LUT(cv2.cvtColor(labels, cv2.COLOR_GRAY2BGRA), table)
    if source is None:
        return np.asarray(colours)
    painted = cv2.addWeighted(source, 1.0 - alpha, colours, alpha, 0.0)
    if hidden:
        keep = np.zeros((1, 256), dtype=np.uint8)
        keep[0, list(hidden)] = 255
        cv2.copyTo(source, cv2.LUT(labels, keep), painted)
    return np.asarray(painted)


def _scaled(image: NDArray[np.uint8], width: int, height: int, scale: float) -> NDArray[np.uint8]:
    if scale < 1:
        method = cv2.INTER_AREA
    else:
        method = cv2.INTER_NEAREST if scale >= _PIXELS_FROM else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method))
