"""Flat shapes in the colours that light and haze leave of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from segstream.scenes.looks import Colour, Look

Picture = NDArray[np.uint8]  # [h, w, 4]: red, green, blue, label
Point = tuple[float, float]

_SHIFT = 4  # shapes are placed to a sixteenth of a pixel, so that slow movement does not jump

_COARSE_CIRCLE = tuple((cos(pi * k / 4), sin(pi * k / 4)) for k in range(8))
_FINE_CIRCLE = tuple((cos(pi * k / 9), sin(pi * k / 9)) for k in range(18))
PAINTS: tuple[Colour, ...] = (
    (196, 198, 202),
    (34, 36, 40),
    (120, 124, 130),
    (158, 30, 32),
    (36, 62, 118),
    (232, 232, 230),
    (70, 78, 84),
    (52, 92, 72),
    (186, 160, 108),
)


class Brush:
    """Draws shapes of one label at one distance, in the colours that light and haze leave."""

    __slots__ = ("canvas", "gain", "label", "veil")

    def __init__(self, canvas: Picture, look: Look, z: float, label: int) -> None:
        visible = look.visible(z)
        self.canvas, self.label = canvas, label
        self.gain = tuple(c * visible for c in look.light)
        self.veil = tuple(c * (1.0 - visible) for c in look.sky_low)

    def shape(self, points: Sequence[Point], colour: Colour, amount: float = 1.0) -> None:
        """Fill a convex shape."""
        gain, veil = self.gain, self.veil
        ink = (
            min(255, int(colour[0] * gain[0] * amount + veil[0])),
            min(255, int(colour[1] * gain[1] * amount + veil[1])),
            min(255, int(colour[2] * gain[2] * amount + veil[2])),
            self.label,
        )
        corners = np.array([(int(x * 16), int(y * 16)) for x, y in points], np.int32)
        cv2.fillConvexPoly(self.canvas, corners, ink, cv2.LINE_8, _SHIFT)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, amount: float = 1.0) -> None:
        self.shape(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), colour, amount)

    def stroke(self, a: Point, b: Point, width: float, colour: Colour, amount: float = 1.0) -> None:
        """A straight bar with square ends, `width` pixels wide but never thinner than one."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        long = max(1e-6, (dx * dx + dy * dy) ** 0.5)
        half = max(0.5, width / 2)
        nx, ny = -dy / long * half, dx / long * half
        self.shape(
            ((a[0] + nx, a[1] + ny), (b[0] + nx, b[1] + ny), (b[0] - nx, b[1] - ny), (a[0] - nx, a[1] - ny)),
            colour,
            amount,
        )

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour, amount: float = 1.0) -> None:
        circle = _FINE_CIRCLE if max(rx, ry) > 5 else _COARSE_CIRCLE
        self.shape([(x + rx * c, y + ry * s) for c, s in circle], colour, amount)
