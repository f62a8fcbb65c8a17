"""Where the frame lies in the window, without Qt: zoom, pan, and the lines of the block grid.

Units: frame pixels (x to the right, y down) and device pixels of the picture widget. One `Placement` maps between
them, so the picture, the grid and the class under the cursor can never disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_SCALE = 64.0  # device pixels per frame pixel
_MARGIN = 0.25  # share of the window that the picture may not leave when panned


@dataclass(frozen=True)
class Placement:
    """device = offset + scale * frame.

    Attributes:
        frame: width and height of the frame.
        canvas: width and height of the widget in device pixels.
        scale: device pixels per frame pixel.
        x, y: device position of the frame's top left corner.
    """

    frame: tuple[int, int]
    canvas: tuple[int, int]
    scale: float
    x: float
    y: float

    def to_frame(self, x: float, y: float) -> tuple[float, float]:
        """Device position to frame position."""
        return (x - self.x) / self.scale, (y - self.y) / self.scale

    def to_device(self, x: float, y: float) -> tuple[float, float]:
        """Frame position to device position."""
        return self.x + self.scale * x, self.y + self.scale * y

    def visible(self) -> tuple[int, int, int, int]:
        """The part of the frame in the window as x0, y0, x1, y1 in whole frame pixels; empty when x1 <= x0."""
        left, top = self.to_frame(0, 0)
        right, bottom = self.to_frame(*self.canvas)
        width, height = self.frame
        return (
            max(0, int(np.floor(left))),
            max(0, int(np.floor(top))),
            min(width, int(np.ceil(right))),
            min(height, int(np.ceil(bottom))),
        )

    def rect(self, x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
        """A rectangle of the frame as whole device pixels: left, top, width, height (at least 1)."""
        left, top = (round(v) for v in self.to_device(x0, y0))
        right, bottom = (round(v) for v in self.to_device(x1, y1))
        return left, top, max(1, right - left), max(1, bottom - top)


def fit(frame: tuple[int, int], canvas: tuple[int, int]) -> Placement:
    """The whole frame, as large as it goes, in the middle."""
    scale = min(max(1, canvas[0]) / max(1, frame[0]), max(1, canvas[1]) / max(1, frame[1]))
    x, y = ((canvas[i] - scale * frame[i]) / 2 for i in (0, 1))
    return Placement(frame, canvas, scale, x, y)


def zoomed(place: Placement, factor: float, at: tuple[float, float]) -> Placement:
    """Zoom by a factor, with the device position `at` staying on the same spot of the frame."""
    whole = fit(place.frame, place.canvas)
    scale = min(max(place.scale * factor, whole.scale), max(MAX_SCALE, whole.scale))
    if scale <= whole.scale * 1.0001:
        return whole
    fx, fy = place.to_frame(*at)
    return held(Placement(place.frame, place.canvas, scale, at[0] - scale * fx, at[1] - scale * fy))


def panned(place: Placement, dx: float, dy: float) -> Placement:
    """Move the frame by device pixels."""
    return held(Placement(place.frame, place.canvas, place.scale, place.x + dx, place.y + dy))


def moved(place: Placement, frame: tuple[int, int], canvas: tuple[int, int]) -> Placement:
    """The same view after the frame or the window changed its size: what was in the middle stays there."""
    old, new = fit(place.frame, place.canvas), fit(frame, canvas)
    if place.scale <= old.scale * 1.0001:
        return new
    fx, fy = place.to_frame(place.canvas[0] / 2, place.canvas[1] / 2)
    scale = min(max(place.scale / old.scale * new.scale, new.scale), max(MAX_SCALE, new.scale))
    cx, cy = fx / max(1, place.frame[0]) * frame[0], fy / max(1, place.frame[1]) * frame[1]
    return held(Placement(frame, canvas, scale, canvas[0] / 2 - scale * cx, canvas[1] / 2 - scale * cy))


def held(place: Placement) -> Placement:
    """Pull a picture that was pushed out of the window back in; one smaller than the window stays in the middle."""
    position = []
    for offset, size, canvas in zip((place.x, place.y), place.frame, place.canvas, strict=True):
        length = place.scale * size
        if length <= canvas:
            position.append((canvas - length) / 2)
        else:
            position.append(min(max(offset, canvas * (1 - _MARGIN) - length), canvas * _MARGIN))
    return Placement(place.frame, place.canvas, place.scale, position[0], position[1])


def grid_lines(blocks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The edges around high blocks, each edge once and straight runs joined.

    Args:
        blocks: bool [GH, GW].

    Returns:
        int64 [L, 4]: x0, y0, x1, y1 in blocks; horizontal ones first.
    """
    padded = np.pad(blocks, 1)
    horizontal = _runs(padded[:-1, 1:-1] | padded[1:, 1:-1])  # [GH+1, GW]: an edge above block row y
    vertical = _runs((padded[1:-1, :-1] | padded[1:-1, 1:]).T)  # [GW+1, GH]
    lines = [(start, y, end, y) for y, start, end in horizontal] + [(x, start, x, end) for x, start, end in vertical]
    return np.array(lines, dtype=np.int64).reshape(-1, 4)


def low_runs(blocks: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """The low blocks as runs (row, first column, column after the last), to dim them with few rectangles."""
    return _runs(~blocks)


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    return [(int(r), int(s), int(e)) for r, s, e in zip(rows, starts, ends, strict=True)]
