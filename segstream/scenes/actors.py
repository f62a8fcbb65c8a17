"""People, bicycles, street lamps and signs."""

from __future__ import annotations

from math import pi, sin

import numpy as np
from numpy.typing import NDArray

from segstream.scenes.camera import NEAR, View
from segstream.scenes.looks import Colour, Look
from segstream.scenes.shapes import PAINTS, Brush, Picture
from segstream.scenes.textures import BICYCLIST, PEDESTRIAN, POLE, SIGN

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
_SKINS: tuple[Colour, ...] = ((222, 178, 150), (170, 120, 90), (108, 74, 56))


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
    frame = PAINTS[int(dice[2] * len(PAINTS))]
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
    helmet = PAINTS[int(dice[4] * len(PAINTS))]
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
