"""Cars and vans, as boxes with glass, lamps and wheels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segstream.scenes.camera import NEAR, View
from segstream.scenes.looks import Colour, Look
from segstream.scenes.shapes import PAINTS, Brush, Picture
from segstream.scenes.textures import CAR, ROAD


def draw_car(
    canvas: Picture, look: Look, view: View, x: float, z: float, dice: NDArray[np.float64], ahead: bool
) -> None:
    """A car or a van whose near end is at (x, z). `ahead`: it faces away, so that its back is seen."""
    paint = PAINTS[int(dice[0] * len(PAINTS))]
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
    deck = ((left, v(belt, z)), (right, v(belt, z)), (u(x + half, glass0), v(belt, glass0)))
    brush.shape((*deck, (u(x - half, glass0), v(belt, glass0))), paint, 1.05)
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
