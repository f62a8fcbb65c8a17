"""The parts of a street that cover most of the picture: sky, skyline, ground, and textures for walls and trees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2

import cv2
import numpy as np
from numpy.typing import NDArray

from segstream.scenes import textures
from segstream.scenes.camera import NEAR, View
from segstream.scenes.looks import Look

Picture = NDArray[np.uint8]  # [h, w, 4]: red, green, blue, label

_GROUND_LEVELS = 7
_LOWEST, _DRAWN = (0, 0, 0, 0), (255, 255, 255, 254)  # label 255 is not drawn


@dataclass(frozen=True, slots=True)
class Wall:
    """A flat texture that stands along the street, with copies shrunk along the street for the distance."""

    levels: tuple[Picture, ...]
    length: float  # metres
    height: float


@dataclass(frozen=True, slots=True)
class Scenery:
    """Everything of a town that is drawn once."""

    look: Look
    sky: Picture
    skyline: Picture
    ground_levels: tuple[Picture, ...]
    left: tuple[Wall, ...]
    right: tuple[Wall, ...]
    fences: tuple[Wall, ...]
    trees: tuple[tuple[Picture, ...], ...]
    noise: NDArray[np.uint8]  # [h, w, 3]

    def backdrop(self, view: View) -> Picture:
        """A new canvas with the sky and the far skyline. [H, W, 4]"""
        h, w = view.height, view.width
        canvas = np.empty((h, w, 4), np.uint8)
        horizon = min(h, ceil(view.horizon))
        if horizon > 0:
            sky_h, sky_w = self.sky.shape[:2]
            room = sky_w - w
            shift = abs(int(view.time * 0.004 * w + view.cx) % (2 * room) - room)  # there and back, without a jump
            top = max(0, sky_h - horizon)
            canvas[:horizon] = self.sky[top : top + horizon, shift : shift + w]
        canvas[max(0, horizon) :] = self.ground_levels[-1][0, 0]
        _paste(canvas, self.skyline, round(view.cx - self.skyline.shape[1] / 2), horizon - self.skyline.shape[0] + 1)
        return canvas

    def ground(self, canvas: Picture, view: View) -> None:
        """Lay road, pavement and grass below the horizon, each row from the copy that suits its distance."""
        first = max(0, ceil(view.horizon + 0.5))
        rows = np.arange(first, view.height, dtype=np.float32)
        if len(rows) == 0:
            return
        z = view.focal * view.y / (rows + 0.5 - view.horizon)  # [rows], metres ahead
        columns = np.arange(view.width, dtype=np.float32) + 0.5 - view.cx
        step = z * z / (view.focal * view.y)  # metres of road in one row
        level = np.clip(np.ceil(np.log2(step * textures.GROUND_SCALE_Z + 1e-6)), 0, _GROUND_LEVELS - 1).astype(int)
        for k in range(_GROUND_LEVELS):
            (mine,) = np.nonzero(level == k)
            if len(mine) == 0:
                continue
            a, b = int(mine[0]), int(mine[-1]) + 1
            texture = self.ground_levels[k]
            x = columns[None, :] * (z[a:b, None] / view.focal) + view.x  # [rows, W], metres from the middle
            map_x = (x + textures.GROUND_HALF) * textures.GROUND_SCALE_X - 0.5
            length = texture.shape[0] - 1
            row = ((z[a:b] + view.z) * (textures.GROUND_SCALE_Z / 2**k)) % length
            map_y = np.repeat(row.astype(np.float32)[:, None], view.width, axis=1)
            cv2.remap(
                texture,
                map_x.astype(np.float32),
                map_y,
                cv2.INTER_LINEAR,
                dst=canvas[first + a : first + b],
                borderMode=cv2.BORDER_REPLICATE,
            )

    def noise_for(self, index: int) -> NDArray[np.uint8]:
        """The sensor's noise in picture `index`: cut from a larger piece at a place that never repeats soon."""
        h, w = self.noise.shape[0] - 64, self.noise.shape[1] - 64
        y, x = (index * 29) % 64, (index * 47) % 64
        return self.noise[y : y + h, x : x + w]


def make_scenery(look: Look, width: int, height: int) -> Scenery:
    """Draw the textures of a town for pictures of one size."""
    random = np.random.default_rng([11, abs(look.seed)])
    shade = {1: 1.0 + look.contrast * 0.25, -1: 1.0 - look.contrast}
    # A wall on the sunny side of the street lies in shade: the sun is behind it.
    left = tuple(_wall(*textures.facade(random, look, shade[look.sunny_side])) for _ in range(7))
    right = tuple(_wall(*textures.facade(random, look, shade[-look.sunny_side])) for _ in range(7))
    fences = tuple(_wall(*textures.fence(random, look, kind)) for kind in range(3))
    trees = tuple(_halvings(textures.tree(random, look), 4) for _ in range(4))
    return Scenery(
        look=look,
        sky=textures.sky(random, look, width * 2, max(2, ceil(height * (look.horizon + 0.05)))),
        skyline=textures.skyline(random, look, ceil(width * 1.3), max(4, height // 7)),
        ground_levels=_ground_levels(textures.ground(random, look)),
        left=left,
        right=right,
        fences=fences,
        trees=trees,
        noise=textures.sensor_noise(random, width + 64, height + 64, 3.2 if min(look.light) > 0.7 else 5.0),
    )


def shrink(texture: Picture, width: int, height: int) -> Picture:
    """The average of a texture over fewer pixels."""
    return cv2.resize(texture, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def hazed(texture: Picture, look: Look, z: float) -> Picture:
    """A texture as seen `z` metres away."""
    table = haze_table(look, z)
    return texture if table is None else cv2.LUT(texture, table)  # type: ignore[return-value]


def _ground_levels(texture: Picture) -> tuple[Picture, ...]:
    levels = []
    for _ in range(_GROUND_LEVELS):
        levels.append(np.concatenate([texture, texture[:1]]))  # one more row, so that the end meets the start
        texture = shrink(texture, texture.shape[1], texture.shape[0] // 2)
    return tuple(levels)


def _wall(texture: Picture, length: float, height: float) -> Wall:
    levels = [texture]
    while levels[-1].shape[1] >= 8 and len(levels) < 7:
        h, w = levels[-1].shape[:2]
        rows = h // 2 if len(levels) >= 4 else h
        levels.append(shrink(levels[-1], w // 2, rows))
    return Wall(tuple(levels), length, height)


def _halvings(sprite: Picture, count: int) -> tuple[Picture, ...]:
    levels = [sprite]
    for _ in range(count):
        h, w = levels[-1].shape[:2]
        small = shrink(levels[-1], w // 2, h // 2)
        small[..., 3] = cv2.resize(levels[-1][..., 3], (w // 2, h // 2), interpolation=cv2.INTER_NEAREST)
        levels.append(small)
    return tuple(levels)


def _paste(canvas: Picture, sprite: Picture, left: int, top: int) -> None:
    """Put a sprite on the canvas where its label is not 255."""
    h, w = sprite.shape[:2]
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(canvas.shape[1], left + w), min(canvas.shape[0], top + h)
    if x0 >= x1 or y0 >= y1:
        return
    part = np.ascontiguousarray(sprite[y0 - top : y1 - top, x0 - left : x1 - left])
    mask = cv2.inRange(part, _LOWEST, _DRAWN)
    cv2.copyTo(part, mask, canvas[y0:y1, x0:x1])


def haze_table(look: Look, z: float) -> NDArray[np.uint8] | None:
    """Table [1, 256, 4] that turns colours into those seen `z` metres away and leaves labels; None for no change."""
    visible = look.visible(z)
    if visible > 0.985:
        return None
    return _haze_table(look, round(visible, 2))


@lru_cache(maxsize=512)
def _haze_table(look: Look, visible: float) -> NDArray[np.uint8]:
    values = np.arange(256, dtype=np.float32)
    table = np.empty((1, 256, 4), np.uint8)
    for c in range(3):
        table[0, :, c] = values * visible + look.sky_low[c] * (1.0 - visible)
    table[0, :, 3] = np.arange(256)
    return table


def draw_sprite(
    canvas: Picture, levels: tuple[Picture, ...], look: Look, view: View, x: float, z: float, h: float
) -> None:
    """Stand an upright sprite of height `h` metres on the ground at (x, z)."""
    tall = view.focal * h / z
    wide = tall * levels[0].shape[1] / levels[0].shape[0]
    level = min(len(levels) - 1, max(0, int(log2(max(1.0, levels[0].shape[0] / max(1.0, tall))))))
    left, bottom = view.u(x, z) - wide / 2, view.v(0.0, z)
    x0, y0 = max(0, round(left)), max(0, round(bottom - tall))
    x1, y1 = min(view.width, round(left + wide)), min(view.height, round(bottom))
    if x1 - x0 < 1 or y1 - y0 < 1:
        return
    sprite = levels[level]
    scale = sprite.shape[0] / tall
    move = np.array([[scale, 0, (x0 - left) * scale], [0, scale, (y0 - bottom + tall) * scale]], np.float32)
    # Nearest neighbour, because the fourth channel holds labels; the lens blur softens the edges afterwards.
    part = cv2.warpAffine(
        sprite,
        move,
        (x1 - x0, y1 - y0),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0, 255),
    )
    part = hazed(part, look, z)  # type: ignore[arg-type]
    mask = cv2.inRange(part, _LOWEST, _DRAWN)
    cv2.copyTo(part, mask, canvas[y0:y1, x0:x1])


def draw_wall(canvas: Picture, wall: Wall, look: Look, view: View, x: float, z0: float, z1: float) -> None:
    """Stand a wall along the street at `x` from `z0` to `z1` metres ahead; the texture is stretched to fit."""
    near = max(z0, NEAR)
    if near >= z1 or abs(x - view.x) < 0.1:
        return
    h, w = view.height, view.width
    side = x - view.x
    ends = sorted((view.u(x, near), view.u(x, z1)))
    top = min(view.v(wall.height, near), view.v(wall.height, z1))
    x0, x1 = max(0, int(ends[0])), min(w, ceil(ends[1]))
    y0, y1 = max(0, int(top)), min(h, ceil(view.v(0.0, near)))
    if x1 <= x0 or y1 <= y0:
        return
    # The nearest column in sight decides how fine the texture has to be.
    closest = max(near, view.focal * abs(side) / max(1.0, max(abs(x0 - view.cx), abs(x1 - view.cx))))
    middle = (closest * z1) ** 0.5
    texel = middle * middle / (view.focal * abs(side)) * wall.levels[0].shape[1] / (z1 - z0)
    level = min(len(wall.levels) - 1, max(0, round(log2(max(texel, 1e-3)))))
    texture = wall.levels[level]
    k, g = texture.shape[1] / (z1 - z0), texture.shape[0] / wall.height
    fx = view.focal * side
    cx, hy = view.cx - x0 - 0.5, view.horizon - y0 - 0.5
    back = np.array(
        [
            [-k * z0 - 0.5, 0.0, k * fx + (k * z0 + 0.5) * cx],
            [g * (wall.height - view.y) - 0.5, g * side, -(g * (wall.height - view.y) - 0.5) * cx - g * hy * side],
            [1.0, 0.0, -cx],
        ]
    )
    texture = hazed(texture, look, middle)
    part = cv2.warpPerspective(
        texture,
        back,
        (x1 - x0, y1 - y0),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    # The wall's outline decides what is drawn, because a border that is blended would blend the labels too.
    mask = np.zeros(part.shape[:2], np.uint8)
    corners = [(x, y, z) for z in (near, z1) for y in (0.0, wall.height)]
    outline = np.array([(view.u(x, z) - x0, view.v(y, z) - y0) for x, y, z in corners])[[0, 1, 3, 2]]
    cv2.fillConvexPoly(mask, np.rint(outline * 16 - 8).astype(np.int32), 255, cv2.LINE_8, 4)
    cv2.copyTo(part, mask, canvas[y0:y1, x0:x1])
