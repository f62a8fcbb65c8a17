"""What moves or stands in the street, drawn as flat shapes: cars, people, bicycles, posts and signs."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from segstream.scenes.camera import NEAR, View
from segstream.scenes.looks import Colour, Look
from segstream.scenes.textures import BICYCLIST, CAR, PEDESTRIAN, POLE, ROAD, SIGN

Picture = NDArray[np.uint8]  # [h, w, 4]: red, green, blue, label
Point = tuple[float, float]

_SHIFT = 4  # shapes are placed to a sixteenth of a pixel, so that slow movement does not jump

_PAINTS: tuple[Colour, ...] = (
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
_CLOTHES: tuple[Colour, ...] = (
    (38, 44, 62),
    (150, 38, 42),
    (52, 96, 140),
    (206, 196, 176),
    (88, 84, 80),
    (196, 150, 52),
    (60, 104, 70),
    (112, 62, 112),
    (24, 24, 28),
)
_COARSE_CIRCLE = tuple((cos(pi * k / 4), sin(pi * k / 4)) for k in range(8))
_FINE_CIRCLE = tuple((cos(pi * k / 9), sin(pi * k / 9)) for k in range(18))
_SKINS: tuple[Colour, ...] = ((222, 178, 150), (170, 120, 90), (108, 74, 56))


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


def draw_car(
    canvas: Picture, look: Look, view: View, x: float, z: float, dice: NDArray[np.float64], ahead: bool
) -> None:
    """A car or a van whose near end is at (x, z). `ahead`: it faces away, so that its back is seen."""
    paint = _PAINTS[int(dice[0] * len(_PAINTS))]
    van = dice[1] < 0.16
    half = 0.98 if van else 0.86 + 0.06 * dice[2]
    long = 4.9 if van else 3.9 + 0.7 * dice[3]
    tall, belt = (2.25, 1.15) if van else (1.42 + 0.16 * dice[4], 0.9)
    far = z + long
    if far < NEAR + 0.3:
        return
    near = max(z, NEAR)
    u, v = view.u, view.v
    if max(u(x + half, near), u(x + half, far)) < 0 or min(u(x - half, near), u(x - half, far)) > view.width:
        return
    brush = Brush(canvas, look, near, CAR)
    shadow = Brush(canvas, look, near, ROAD)
    s = half + 0.15
    shadow.shape(
        (
            (u(x - s, near), v(0.0, near)),
            (u(x + s, near), v(0.0, near)),
            (u(x + s, far), v(0.0, far)),
            (u(x - s, far), v(0.0, far)),
        ),
        (look.asphalt,) * 3,
        0.45,
    )
    if view.focal / near < 12:  # too small for details
        _small_car(brush, view, x, near, far, half, belt, tall, paint, ahead)
        return
    # The side that faces the camera.
    side = 0.0
    if view.x < x - half:
        side = -1.0
    elif view.x > x + half:
        side = 1.0
    rake = (0.25, 0.9) if ahead else (0.95, 0.4)
    roof0, roof1 = (z + 0.1, far - 0.9) if van else (z + rake[0] + 0.35, far - rake[1] - 0.5)
    roof0, roof1 = max(roof0, near), max(roof1, near + 0.1)
    inset = half * (0.96 if van else 0.8)
    glass0 = max(z + (0.02 if van else rake[0] * 0.2), near)
    if side:
        _car_side(brush, view, x + side * half, x + side * inset, near, far, glass0, roof0, roof1, belt, tall, paint, z)
    # Roof and the glass towards the camera.
    if view.y < tall:
        brush.shape(
            (
                (u(x - half, glass0), v(belt, glass0)),
                (u(x + half, glass0), v(belt, glass0)),
                (u(x + inset, roof0), v(tall, roof0)),
                (u(x - inset, roof0), v(tall, roof0)),
            ),
            paint,
            0.92,
        )
    else:
        brush.shape(
            (
                (u(x - inset, roof0), v(tall, roof0)),
                (u(x + inset, roof0), v(tall, roof0)),
                (u(x + inset, roof1), v(tall, roof1)),
                (u(x - inset, roof1), v(tall, roof1)),
            ),
            paint,
            1.1,
        )
        brush.shape(
            (
                (u(x - half, glass0), v(belt, glass0)),
                (u(x + half, glass0), v(belt, glass0)),
                (u(x + inset, roof0), v(tall, roof0)),
                (u(x - inset, roof0), v(tall, roof0)),
            ),
            paint,
            0.92,
        )
    if z >= NEAR:
        _car_end(brush, view, x, z, half, inset, belt, tall, glass0, roof0, paint, ahead, van, float(dice[5]))


def _small_car(
    brush: Brush,
    view: View,
    x: float,
    z: float,
    far: float,
    half: float,
    belt: float,
    tall: float,
    paint: Colour,
    ahead: bool,
) -> None:
    """A car so far away that it is a few pixels tall."""
    u, v = view.u, view.v
    side = x - half if view.x < x else x + half
    left, right = u(x - half, z), u(x + half, z)
    outer = u(side, far)
    roof = v(tall, z + 0.8)
    brush.shape(
        ((u(side, z), v(0.15, z)), (outer, v(0.15, far)), (outer, v(belt, far)), (u(side, z), v(belt, z))), paint, 0.8
    )
    brush.box(min(outer, left * 0.92 + right * 0.08), roof, max(outer, right * 0.92 + left * 0.08), v(belt, z), paint)
    brush.box(left, v(belt, z), right, v(0.12, z), paint, 0.95)
    brush.box(left * 0.84 + right * 0.16, v(tall - 0.12, z), right * 0.84 + left * 0.16, v(belt, z), (56, 64, 74))
    lamp: Colour = (180, 40, 36) if ahead else (238, 236, 220)
    brush.box(left, v(belt - 0.05, z), left * 0.8 + right * 0.2, v(belt - 0.25, z), lamp)
    brush.box(right * 0.8 + left * 0.2, v(belt - 0.05, z), right, v(belt - 0.25, z), lamp)


def _car_side(
    brush: Brush,
    view: View,
    x: float,
    x_roof: float,
    near: float,
    far: float,
    cabin0: float,
    roof0: float,
    roof1: float,
    belt: float,
    tall: float,
    paint: Colour,
    z: float,
) -> None:
    u, v = view.u, view.v
    tone = 0.84
    brush.shape(
        (
            (u(x, near), v(0.28, near)),
            (u(x, far), v(0.28, far)),
            (u(x, far), v(belt, far)),
            (u(x, near), v(belt, near)),
        ),
        paint,
        tone,
    )
    brush.shape(
        (
            (u(x, near), v(0.28, near)),
            (u(x, far), v(0.28, far)),
            (u(x, far), v(0.45, far)),
            (u(x, near), v(0.45, near)),
        ),
        paint,
        tone * 0.7,
    )
    cabin1 = far - 0.55
    brush.shape(
        (
            (u(x, cabin0), v(belt, cabin0)),
            (u(x, cabin1), v(belt, cabin1)),
            (u(x_roof, roof1), v(tall, roof1)),
            (u(x_roof, roof0), v(tall, roof0)),
        ),
        paint,
        tone,
    )
    g0, g1 = cabin0 * 0.45 + roof0 * 0.55, cabin1 - 0.3
    low, high = belt + 0.04, tall - 0.12
    x_mid = x + (x_roof - x) * 0.8
    if g1 > g0 + 0.2:
        brush.shape(
            (
                (u(x, g0), v(low, g0)),
                (u(x, g1), v(low, g1)),
                (u(x_mid, roof1 - 0.1), v(high, roof1 - 0.1)),
                (u(x_mid, roof0 + 0.12), v(high, roof0 + 0.12)),
            ),
            (44, 52, 60),
        )
        post = (g0 + g1) / 2
        brush.stroke((u(x, post), v(low, post)), (u(x_mid, post), v(high, post)), view.focal * 0.07 / post, paint, tone)
    for wheel in (z + 0.75, far - 0.8):
        if wheel < near + 0.1:
            continue
        rx = abs(u(x, wheel + 0.31) - u(x, wheel - 0.31)) / 2
        ry = view.focal * 0.33 / wheel
        cx, cy = u(x, wheel), v(0.33, wheel)
        brush.oval(cx, cy, rx, ry, (24, 24, 26))
        brush.oval(cx, cy, rx * 0.58, ry * 0.58, (130, 132, 136))


def _car_end(
    brush: Brush,
    view: View,
    x: float,
    z: float,
    half: float,
    inset: float,
    belt: float,
    tall: float,
    glass0: float,
    roof0: float,
    paint: Colour,
    ahead: bool,
    van: bool,
    luck: float,
) -> None:
    """The back or the front of a car, towards the camera."""
    u, v = view.u, view.v
    m = view.focal / z  # pixels per metre
    left, right = u(x - half, z), u(x + half, z)
    for tyre in (-1, 1):
        a = u(x + tyre * (half - 0.13), z)
        brush.box(a - 0.12 * m, v(0.4, z), a + 0.12 * m, v(0.0, z), (22, 22, 24))
    brush.box(left, v(belt, z), right, v(0.25, z), paint, 0.96)
    brush.box(left, v(belt, z), right, v(belt - 0.1, z), paint, 1.1)
    brush.box(left, v(0.48, z), right, v(0.22, z), paint, 0.6)
    gx = inset * 0.88
    mid = (glass0 + roof0) / 2
    brush.shape(
        (
            (u(x - half * 0.86, glass0), v(belt + 0.07, glass0)),
            (u(x + half * 0.86, glass0), v(belt + 0.07, glass0)),
            (u(x + gx, roof0), v(tall - 0.1, roof0)),
            (u(x - gx, roof0), v(tall - 0.1, roof0)),
        ),
        (52, 62, 72),
    )
    brush.shape(  # the sky in the glass
        (
            (u(x - half * 0.5, glass0), v(belt + 0.1, glass0)),
            (u(x - half * 0.2, glass0), v(belt + 0.1, glass0)),
            (u(x + gx * 0.3, mid), v(tall - 0.16, roof0)),
            (u(x - gx * 0.2, mid), v(tall - 0.16, roof0)),
        ),
        (104, 118, 130),
    )
    if van and ahead:
        brush.stroke((u(x, z), v(tall - 0.1, z)), (u(x, z), v(0.4, z)), 0.03 * m, paint, 0.6)
    lamp: Colour = (196, 30, 26) if ahead else (244, 240, 220)
    for lamp_side in (-1, 1):
        a = x + lamp_side * (half - 0.2)
        brush.box(u(a - 0.15, z), v(belt - 0.08, z), u(a + 0.15, z), v(belt - 0.26, z), lamp, 0.8 + 0.5 * luck)
    if not ahead:
        brush.box(u(x - 0.45, z), v(0.66, z), u(x + 0.45, z), v(0.5, z), (30, 30, 34))
    brush.box(u(x - 0.26, z), v(0.6, z), u(x + 0.26, z), v(0.48, z), (226, 222, 190))


def draw_person(
    canvas: Picture, look: Look, view: View, x: float, z: float, dice: NDArray[np.float64], turn: int
) -> None:
    """A walking person at (x, z). `turn`: 1 or -1 the way of walking, along the street or across it."""
    if z < NEAR:
        return
    tall = 1.55 + 0.32 * float(dice[0])
    m = view.focal / z
    brush = Brush(canvas, look, z, PEDESTRIAN)
    step = sin(view.time * (6.5 + dice[1]) + dice[2] * 6)
    cx, foot = view.u(x, z), view.v(0.0, z)
    coat = _CLOTHES[int(dice[3] * len(_CLOTHES))]
    trousers = _CLOTHES[int(dice[4] * len(_CLOTHES))]
    skin = _SKINS[int(dice[5] * len(_SKINS))]
    hip, shoulder = foot - tall * 0.5 * m, foot - tall * 0.82 * m
    wide = 0.22 * m
    if m < 14:  # too small for limbs
        brush.box(cx - 0.13 * m, hip, cx + 0.13 * m, foot, trousers, 0.85)
        brush.box(cx - wide, shoulder, cx + wide, hip, coat)
        brush.oval(cx, foot - tall * 0.92 * m, 0.11 * m, 0.14 * m, skin, 0.8)
        return
    for leg in (-1, 1):
        reach = leg * step * 0.26 * m * turn
        knee = (cx + reach * 0.55 + leg * 0.05 * m, foot - tall * 0.27 * m)
        toe = (cx + reach + leg * 0.05 * m, foot - max(0.0, leg * step) * 0.05 * m)
        brush.stroke((cx + leg * 0.06 * m, hip), knee, 0.17 * m, trousers, 0.8 + 0.15 * (leg > 0))
        brush.stroke(knee, toe, 0.13 * m, trousers, 0.8 + 0.15 * (leg > 0))
        brush.stroke((toe[0] - 0.04 * m, toe[1]), (toe[0] + 0.16 * m * turn, toe[1]), 0.08 * m, (30, 28, 28))
    for arm in (-1, 1):
        hand = (cx - arm * step * 0.2 * m * turn + arm * 0.2 * m, hip + 0.04 * m)
        brush.stroke((cx + arm * 0.19 * m, shoulder + 0.05 * m), hand, 0.1 * m, coat, 0.78)
        brush.oval(hand[0], hand[1], 0.05 * m, 0.05 * m, skin)
    brush.shape(
        (
            (cx - wide, shoulder + 0.03 * m),
            (cx + wide, shoulder + 0.03 * m),
            (cx + wide * 0.82, hip + 0.1 * m),
            (cx - wide * 0.82, hip + 0.1 * m),
        ),
        coat,
    )
    brush.shape(
        (
            (cx - wide, shoulder + 0.03 * m),
            (cx - wide * 0.3, shoulder),
            (cx - wide * 0.3, hip + 0.1 * m),
            (cx - wide * 0.82, hip + 0.1 * m),
        ),
        coat,
        0.8,
    )
    brush.box(cx - 0.05 * m, shoulder - 0.06 * m, cx + 0.05 * m, shoulder + 0.03 * m, skin, 0.85)
    hair: Colour = (52, 40, 32) if dice[6] < 0.7 else (150, 120, 70)
    head = foot - tall * 0.92 * m
    brush.oval(cx, head, 0.1 * m, 0.13 * m, skin)
    brush.oval(cx - 0.015 * m * turn, head - 0.05 * m, 0.105 * m, 0.09 * m, hair)


def draw_cyclist(
    canvas: Picture, look: Look, view: View, x: float, z: float, dice: NDArray[np.float64], ahead: bool
) -> None:
    """Somebody on a bicycle, seen from behind (`ahead`) or from the front and a little from the side."""
    if z < NEAR:
        return
    m = view.focal / z
    brush = Brush(canvas, look, z, BICYCLIST)
    cx, foot = view.u(x, z), view.v(0.0, z)
    other = view.u(x, z + 1.05)
    far_m = view.focal / (z + 1.05)
    far_foot = view.v(0.0, z + 1.05)
    dark: Colour = (30, 30, 34)
    coat = _CLOTHES[int(dice[0] * len(_CLOTHES))]
    skin = _SKINS[int(dice[1] * len(_SKINS))]
    frame = _PAINTS[int(dice[2] * len(_PAINTS))]
    brush.oval(other, far_foot - 0.34 * far_m, max(0.06 * far_m, abs(other - cx) * 0.28), 0.34 * far_m, dark)
    brush.stroke((cx, foot - 0.5 * m), (other, far_foot - 0.55 * far_m), 0.07 * m, frame)
    brush.oval(cx, foot - 0.34 * m, max(0.055 * m, abs(other - cx) * 0.28), 0.34 * m, dark)
    brush.stroke((cx, foot - 0.34 * m), (cx, foot - 0.95 * m), 0.05 * m, frame)
    pedal = view.time * 7.0 + dice[3] * 6
    for leg in (-1, 1):
        lift = 0.16 * sin(pedal + (leg > 0) * pi)
        knee = (cx + leg * 0.15 * m, foot - (0.72 + lift) * m)
        brush.stroke((cx + leg * 0.1 * m, foot - 1.0 * m), knee, 0.17 * m, (44, 48, 60), 0.9)
        brush.stroke(knee, (cx + leg * 0.11 * m, foot - (0.3 + lift) * m), 0.12 * m, (44, 48, 60))
        brush.stroke((cx + leg * 0.22 * m, foot - 1.42 * m), (cx + leg * 0.3 * m, foot - 1.05 * m), 0.1 * m, coat, 0.85)
    brush.stroke((cx - 0.32 * m, foot - 1.04 * m), (cx + 0.32 * m, foot - 1.04 * m), 0.05 * m, dark)
    brush.shape(
        (
            (cx - 0.24 * m, foot - 1.45 * m),
            (cx + 0.24 * m, foot - 1.45 * m),
            (cx + 0.17 * m, foot - 0.92 * m),
            (cx - 0.17 * m, foot - 0.92 * m),
        ),
        coat,
    )
    brush.oval(cx, foot - 1.6 * m, 0.1 * m, 0.13 * m, skin)
    helmet = _PAINTS[int(dice[4] * len(_PAINTS))]
    brush.oval(cx, foot - 1.66 * m, 0.125 * m, (0.09 if ahead else 0.08) * m, helmet)


def draw_lamp(canvas: Picture, look: Look, view: View, x: float, z: float, over: float) -> None:
    """A street lamp whose arm reaches `over` metres over the road."""
    if z < NEAR:
        return
    m = view.focal / z
    brush = Brush(canvas, look, z, POLE)
    grey: Colour = (96, 100, 102)
    cx, foot, top = view.u(x, z), view.v(0.0, z), view.v(7.2, z)
    brush.stroke((cx, foot), (cx, top), 0.15 * m, grey)
    brush.stroke((cx, foot), (cx, foot - 1.2 * m), 0.24 * m, grey, 0.85)
    brush.stroke((cx - 0.04 * m, foot), (cx - 0.04 * m, top), 0.04 * m, grey, 1.35)
    end = view.u(x + over, z)
    brush.stroke((cx, top), (end, top - 0.25 * m), 0.09 * m, grey)
    brush.stroke(
        (end, top - 0.25 * m), (end + 0.6 * m * (1 if over > 0 else -1), top - 0.22 * m), 0.16 * m, (150, 152, 150)
    )


def draw_sign(canvas: Picture, look: Look, view: View, x: float, z: float, dice: NDArray[np.float64]) -> None:
    """A post with a traffic sign, or with traffic lights."""
    if z < NEAR:
        return
    m = view.focal / z
    cx, foot = view.u(x, z), view.v(0.0, z)
    post = Brush(canvas, look, z, POLE)
    kind = int(dice[0] * 5)
    high = 2.5 + 0.5 * float(dice[1])
    post.stroke((cx, foot), (cx, foot - high * m), 0.1 * m, (126, 130, 132))
    plate = Brush(canvas, look, z, SIGN)
    mid = foot - high * m
    white: Colour = (238, 238, 236)
    red: Colour = (190, 28, 34)
    if kind == 0:
        plate.oval(cx, mid, 0.37 * m, 0.37 * m, red)
        plate.oval(cx, mid, 0.27 * m, 0.27 * m, white)
        plate.box(cx - 0.13 * m, mid - 0.12 * m, cx + 0.13 * m, mid + 0.12 * m, (40, 40, 44))
    elif kind == 1:
        for size, colour in ((0.46, red), (0.3, white)):
            s = size * m
            plate.shape(((cx, mid - s), (cx + s * 0.92, mid + s * 0.62), (cx - s * 0.92, mid + s * 0.62)), colour)
    elif kind == 2:
        plate.oval(cx, mid, 0.36 * m, 0.36 * m, (30, 72, 156))
        plate.stroke((cx, mid + 0.2 * m), (cx, mid - 0.2 * m), 0.1 * m, white)
    elif kind == 3:
        plate.box(cx - 0.55 * m, mid - 0.4 * m, cx + 0.55 * m, mid + 0.3 * m, white)
        plate.box(cx - 0.5 * m, mid - 0.36 * m, cx + 0.5 * m, mid + 0.26 * m, (24, 92, 58))
        for row in (-0.22, -0.02):
            plate.box(cx - 0.4 * m, mid + row * m, cx + (0.1 + 0.25 * dice[2]) * m, mid + (row + 0.1) * m, white)
    else:
        plate.box(cx - 0.2 * m, mid - 0.5 * m, cx + 0.2 * m, mid + 0.5 * m, (26, 28, 28))
        on = int(view.time / 6 + dice[3] * 3) % 3
        for lamp, colour in enumerate(((226, 48, 40), (236, 170, 40), (60, 210, 120))):
            tone = 1.15 if lamp == on else 0.25
            plate.oval(cx, mid + (lamp - 1) * 0.31 * m, 0.12 * m, 0.12 * m, colour, tone)
