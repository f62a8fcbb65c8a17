"""Where the frame lies in the window, without Qt: zoom, pan, and the lines of the block grid.

Units: frame pixels (x to the right, y down) and device pixels of the picture widget. One `Placement` maps between
them, so the picture, the grid and the class under the cursor can never disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

MAX_SCALE = 64.0  # device pixels per frame pixel
_MARGIN = 0.25  # share of the window that the picture may not leave when panned


@dataclass(frozen=True)
class Placement:
    """device = offset + scales * frame.

    Attributes:
        frame: width and height of the frame.
        canvas: width and height of the widget in device pixels.
        scale: device pixels per frame pixel, downwards.
        x, y: device position of the frame's top left corner.
        aspect: width of a frame pixel over its height.
    """

    frame: tuple[int, int]
    canvas: tuple[int, int]
    scale: float
    x: float
    y: float
    aspect: float = 1.0

    @property
    def scales(self) -> tuple[float, float]:
        """Device pixels per frame pixel, to the right and downwards."""
        return self.scale * self.aspect, self.scale

    def to_frame(self, x: float, y: float) -> tuple[float, float]:
        """Device position to frame position."""
        across, down = self.scales
        return (x - self.x) / across, (y - self.y) / down

    def to_device(self, x: float, y: float) -> tuple[float, float]:
        """Frame position to device position."""
        across, down = self.scales
        return self.x + across * x, self.y + down * y

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


def fit(frame: tuple[int, int], canvas: tuple[int, int], aspect: float = 1.0) -> Placement:
    """The whole frame in its true shape, as large as it goes, in the middle."""
    scale = min(max(1, canvas[0]) / (aspect * max(1, frame[0])), max(1, canvas[1]) / max(1, frame[1]))
    x, y = (canvas[0] - scale * aspect * frame[0]) / 2, (canvas[1] - scale * frame[1]) / 2
    return Placement(frame, canvas, scale, x, y, aspect)


def zoomed(place: Placement, factor: float, at: tuple[float, float]) -> Placement:
    """Zoom by a factor, with the device position `at` staying on the same spot of the frame."""
    whole = fit(place.frame, place.canvas, place.aspect)
    scale = min(max(place.scale * factor, whole.scale), max(MAX_SCALE, whole.scale))
    if scale <= whole.scale * 1.0001:
        return whole
    fx, fy = place.to_frame(*at)
    return held(_put(replace(place, scale=scale), (fx, fy), at))


def panned(place: Placement, dx: float, dy: float) -> Placement:
    """Move the frame by device pixels."""
    return held(replace(place, x=place.x + dx, y=place.y + dy))


def moved(place: Placement, frame: tuple[int, int], canvas: tuple[int, int]) -> Placement:
    """The same view after the frame or the window changed its size: what was in the middle stays there."""
    old, new = fit(place.frame, place.canvas, place.aspect), fit(frame, canvas, place.aspect)
    if place.scale <= old.scale * 1.0001:
        return new
    fx, fy = place.to_frame(place.canvas[0] / 2, place.canvas[1] / 2)
    scale = min(max(place.scale / old.scale * new.scale, new.scale), max(MAX_SCALE, new.scale))
    spot = fx / max(1, place.frame[0]) * frame[0], fy / max(1, place.frame[1]) * frame[1]
    return held(_put(replace(new, scale=scale), spot, (canvas[0] / 2, canvas[1] / 2)))


def _put(place: Placement, spot: tuple[float, float], at: tuple[float, float]) -> Placement:
    """The placement with a spot of the frame at a device position."""
    across, down = place.scales
    return replace(place, x=at[0] - across * spot[0], y=at[1] - down * spot[1])


def held(place: Placement) -> Placement:
    """Pull a picture that was pushed out of the window back in; one smaller than the window stays in the middle."""
    position = []
    for offset, size, canvas, scale in zip((place.x, place.y), place.frame, place.canvas, place.scales, strict=True):
        length = scale * size
        if length <= canvas:
            position.append((canvas - length) / 2)
        else:
            position.append(min(max(offset, canvas * (1 - _MARGIN) - length), canvas * _MARGIN))
    return replace(place, x=position[0], y=position[1])


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
