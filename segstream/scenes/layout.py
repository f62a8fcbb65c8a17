"""What stands where in the street, and in which order it is drawn: far things first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import ceil, floor, sin

import cv2
import numpy as np

from segstream.scenes.actors import draw_cyclist, draw_lamp, draw_person, draw_sign
from segstream.scenes.camera import FAR, NEAR, View
from segstream.scenes.looks import Look, dice
from segstream.scenes.scenery import Picture, Scenery, Wall, draw_sprite, draw_wall, hazed
from segstream.scenes.textures import GROUND_LENGTH
from segstream.scenes.vehicles import draw_car

LOT = 16.0  # metres of street that one house or gap takes

_cast = lru_cache(maxsize=4096)(dice)

Job = tuple[float, Callable[[], None]]  # distance, and what draws the thing


def draw_lots(canvas: Picture, view: View, look: Look, scenery: Scenery) -> None:
    """Houses, and the gardens behind fences between them, on both sides."""
    first, last = floor((view.z + NEAR) / LOT), floor((view.z + FAR) / LOT)
    for number in range(last, first - 1, -1):
        for side in (-1, 1):
            z0 = number * LOT - view.z
            house = _house(look, scenery, side, number)
            if house is None:
                _draw_garden(canvas, view, look, scenery, side, number, z0)
                continue
            x = side * look.walls
            before = _house(look, scenery, side, number - 1)
            if z0 > NEAR and (before is None or before.height < house.height):
                _draw_gable(canvas, view, look, house, x, side, z0)
            draw_wall(canvas, house, look, view, x, z0, z0 + LOT)


def _house(look: Look, scenery: Scenery, side: int, number: int) -> Wall | None:
    """The house on a lot, or None for a garden."""
    cast = _cast(look.seed, 20 + side, number, 2)
    if cast[0] < look.gaps:
        return None
    walls = scenery.left if side < 0 else scenery.right
    return walls[int(cast[1] * len(walls))]


def _draw_gable(canvas: Picture, view: View, look: Look, house: Wall, x: float, side: int, z: float) -> None:
    """The end of a house that faces the camera."""
    a, b = sorted((view.u(x, z), view.u(x + side * 11.0, z)))
    top, bottom = view.v(house.height, z), view.v(0.0, z)
    x0, x1 = max(0, round(a)), min(view.width, round(b))
    y0, y1 = max(0, round(top)), min(view.height, round(bottom))
    if x1 <= x0 or y1 <= y0:
        return
    texture = house.levels[0]
    sx, sy = texture.shape[1] / max(1.0, b - a), texture.shape[0] / max(1.0, bottom - top)
    texture = house.levels[min(2, len(house.levels) - 1)] if sx > 3 else texture
    sx = texture.shape[1] / max(1.0, b - a)
    move = np.array([[sx, 0, (x0 - a) * sx], [0, sy, (y0 - top) * sy]], np.float32)
    texture = hazed(texture, look, z)
    cv2.warpAffine(
        texture,
        move,
        (x1 - x0, y1 - y0),
        dst=canvas[y0:y1, x0:x1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _draw_garden(canvas: Picture, view: View, look: Look, scenery: Scenery, side: int, number: int, z0: float) -> None:
    """Trees behind a fence, and the houses of the next street behind them."""
    cast = _cast(look.seed, 30 + side, number, 12)
    walls = scenery.left if side < 0 else scenery.right
    draw_wall(canvas, walls[int(cast[0] * len(walls))], look, view, side * (look.walls + 17.0), z0, z0 + LOT)
    for k in (2, 1, 0):
        z = z0 + (k + 0.2 + 0.6 * cast[1 + k]) * LOT / 3
        if z > 2.0:
            tree = scenery.trees[int(cast[4 + k] * len(scenery.trees))]
            draw_sprite(
                canvas, tree, look, view, side * (look.walls + 2.5 + 5 * cast[7 + k]), z, 5.0 + 4.5 * cast[7 + k]
            )
    fence = scenery.fences[int(cast[10] * len(scenery.fences))]
    draw_wall(canvas, fence, look, view, side * (look.walls + 0.1), z0, z0 + LOT)


def draw_street(canvas: Picture, view: View, look: Look, scenery: Scenery) -> None:
    """Everything between the building lines: first what stands beside the road, then rails, then what is on the road.

    Seen from the road, a thing farther out never hides one nearer to the middle, so the three parts need no common
    order; each goes from far to near.
    """
    for part in (
        [*_beside(canvas, view, look, scenery), *_walkers(canvas, view, look)],
        [*_rails(canvas, view, look, scenery)],
        [*_on_road(canvas, view, look)],
    ):
        for _, job in sorted(part, key=lambda entry: -entry[0]):
            job()


def _slots(view: View, pitch: float, far: float, back: float = 0.0, way: float = 0.0) -> Iterator[tuple[int, float]]:
    """Numbers and distances of the places in sight of a row of things `pitch` apart that has moved by `way`."""
    start = view.z - way
    for number in range(ceil((start - back) / pitch), ceil((start + far) / pitch)):
        yield number, number * pitch - start


def _in_sight(view: View, x: float, z: float, half: float) -> bool:
    """Whether a thing `half` metres to each side of (x, z) can be in the picture."""
    return z > NEAR and view.u(x - half, z) < view.width and view.u(x + half, z) > 0


def _beside(canvas: Picture, view: View, look: Look, scenery: Scenery) -> Iterator[Job]:
    """Trees, lamps and signs."""
    for side in (-1, 1):
        kerb = side * (look.road + 0.75)
        for number, place in _slots(view, 9.0, 130.0, back=3.0):
            cast = _cast(look.seed, 40 + side, number, 4)
            z = place + 3.0 * cast[0]
            if cast[1] < look.trees and z > 2.0:
                sprite = scenery.trees[int(cast[2] * len(scenery.trees))]
                yield z, _later(draw_sprite, canvas, sprite, look, view, kerb + side * 0.4, z, 5.2 + 2.6 * cast[3])
        for _, place in _slots(view, 27.0, 120.0, back=14.0):
            z = place + (13.5 if side > 0 else 4.0)
            yield z, _later(draw_lamp, canvas, look, view, kerb - side * 0.15, z, -side * 1.6)
        for number, place in _slots(view, 19.0, 80.0, back=8.0):
            cast = _cast(look.seed, 50 + side, number, 6)
            z = place + 8.0 * cast[4]
            if cast[5] < 0.62 and _in_sight(view, kerb, z, 1.0):
                yield z, _later(draw_sign, canvas, look, view, kerb - side * 0.2, z, cast)


def _walkers(canvas: Picture, view: View, look: Look) -> Iterator[Job]:
    """People on the pavements, in both directions."""
    for side in (-1, 1):
        for turn in (-1, 1):
            for number, place in _slots(view, 8.0, 75.0, back=4.0, way=turn * 1.35 * view.time):
                cast = _cast(look.seed, 90 + 2 * side + turn, number, 9)
                z = place + 4.0 * cast[7]
                x = side * (look.road + 1.2 + (look.walls - look.road - 1.7) * float(cast[6]))
                if cast[8] < look.people * 0.75 and _in_sight(view, x, z, 0.6):
                    yield z, _later(draw_person, canvas, look, view, x, z, cast, turn)


def _rails(canvas: Picture, view: View, look: Look, scenery: Scenery) -> Iterator[Job]:
    """Rails between pavement and road."""
    for side in (-1, 1):
        for number, z in _slots(view, 30.0, 90.0, back=11.0):
            cast = _cast(look.seed, 60 + side, number, 1)
            if cast[0] < 0.3:
                x = side * (look.road + 0.3)
                yield z, _later(draw_wall, canvas, scenery.fences[2], look, view, x, z, z + 11.0)


def _on_road(canvas: Picture, view: View, look: Look) -> Iterator[Job]:
    """Parked and moving cars, bicycles, and people on the zebra crossings."""
    for side in (-1, 1):
        for number, place in _slots(view, 6.4, 110.0, back=6.4):
            cast = _cast(look.seed, 70 + side, number, 8)
            z = place + 0.9 * cast[7]
            if cast[6] < look.traffic * 0.62:
                yield z, _later(draw_car, canvas, look, view, side * (look.road - 1.05), z, cast, side == look.side)
        for number, place in _slots(view, 31.0, 90.0, back=9.0, way=side * look.side * 4.6 * view.time):
            cast = _cast(look.seed, 100 + side, number, 7)
            z = place + 9.0 * cast[5]
            x = side * (look.road - 2.55)
            if cast[6] < 0.85 and _in_sight(view, x, z, 0.6):
                yield z, _later(draw_cyclist, canvas, look, view, x, z, cast, side == look.side)
    for number, place in _slots(view, 34.0, 130.0, back=18.0, way=-9.5 * view.time):
        cast = _cast(look.seed, 80, number, 9)
        z = place + 14.0 * cast[8]
        if cast[7] < look.traffic:
            yield z, _later(draw_car, canvas, look, view, -look.side * 1.75, z, cast, False)
    leader = 19.0 + 9.0 * sin(view.time * 0.21 + look.phase) + 3.0 * sin(view.time * 0.5)
    yield leader, _later(draw_car, canvas, look, view, look.side * 1.75, leader, _cast(look.seed, 81, 0, 6), True)
    for number, place in _slots(view, float(GROUND_LENGTH), 95.0, back=GROUND_LENGTH):
        for k in range(3):
            cast = _cast(look.seed, 110 + k, number, 7)
            turn = 1 if cast[6] < 0.5 else -1
            z = place + look.crossing + 1.6 + 0.6 * k
            # They start while the car is far and are across before it is there.
            way = (95.0 - z) * 0.17 - 2.0 * k - look.road - 1.0
            x = turn * min(look.road + 1.0, max(-look.road - 1.0, way))
            if _in_sight(view, x, z, 0.6) and z < 95.0:
                yield z, _later(draw_person, canvas, look, view, x, z, cast, turn)


def _later(draw: Callable[..., None], *arguments: object) -> Callable[[], None]:
    return lambda: draw(*arguments)
