"""Textures of the drawn street: facades, fences, trees, ground, sky. Each is uint8 [h, w, 4]: colour and label."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from segstream.scenes.looks import Colour, Look

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
NOTHING = 255  # in a sprite: not drawn

WALL_SCALE = 16  # texture pixels per metre
GROUND_SCALE_X = 32.0
GROUND_SCALE_Z = 8.0
GROUND_HALF = 14.0  # metres of ground to each side
GROUND_LENGTH = 128  # metres until the ground repeats

_FACADES: tuple[Colour, ...] = (
    (158, 92, 70),
    (176, 120, 92),
    (206, 192, 164),
    (222, 214, 198),
    (150, 142, 134),
    (196, 168, 128),
    (122, 84, 70),
    (184, 178, 176),
    (214, 182, 140),
)


@lru_cache(maxsize=8)
def rough(size: int, octaves: int, seed: int) -> NDArray[np.float32]:
    """Seamless noise [size, size] with mean 0 and deviation 1; more octaves make larger patches."""
    random = np.random.default_rng([3, seed])
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        small = random.standard_normal((size >> octave, size >> octave)).astype(np.float32)
        tiled = np.tile(small, (2, 2)) if octave else small
        if octave:
            tiled = np.asarray(cv2.resize(tiled, (2 * size, 2 * size), interpolation=cv2.INTER_CUBIC), np.float32)
            tiled = tiled[size // 2 : size // 2 + size, size // 2 : size // 2 + size]
        total += tiled * 1.35**octave
    return (total - total.mean()) / total.std()  # type: ignore[no-any-return]


def _patch(random: np.random.Generator, h: int, w: int, octaves: int) -> NDArray[np.float32]:
    """A piece of noise [h, w]."""
    noise = rough(512, octaves, 1)
    y, x = random.integers(0, 512, 2)
    rows = np.arange(y, y + h) % 512
    columns = np.arange(x, x + w) % 512
    return noise[rows[:, None], columns[None, :]]


def _finish(colour: NDArray[np.float32], label: int | NDArray[np.uint8]) -> NDArray[np.uint8]:
    h, w = colour.shape[:2]
    out = np.empty((h, w, 4), np.uint8)
    np.clip(colour, 0, 255, out=colour)
    out[..., :3] = colour
    out[..., 3] = label
    return out


def facade(random: np.random.Generator, look: Look, shade: float) -> tuple[NDArray[np.uint8], float, float]:
    """A house front of one of three kinds, with its length and height in metres."""
    s = WALL_SCALE
    length = float(random.choice([12.0, 16.0]))
    floors = int(random.integers(2, 6))
    storey = float(random.uniform(2.9, 3.5))
    ground_floor = storey * 1.15
    height = ground_floor + storey * (floors - 1) + 0.8
    h, w = int(height * s), int(length * s)
    base = np.array(_FACADES[int(random.integers(len(_FACADES)))], np.float32)
    base = (base * random.uniform(0.85, 1.1) + random.uniform(-10, 10, 3)).astype(np.float32)
    art = np.empty((h, w, 3), np.float32)
    art[:] = base
    art += _patch(random, h, w, 5)[..., None] * 7
    if base[0] - base[2] > 55:  # bricks
        art[::4] *= 0.9
    glass = np.array([72, 84, 96], np.float32) * random.uniform(0.7, 1.2)
    frame = np.array([226, 222, 214], np.float32) if random.random() < 0.7 else base * 0.55
    kind = int(random.integers(3))
    bay = float(random.uniform(2.2, 3.4))
    bays = max(2, int(length / bay))
    pitch = w / bays
    win_w, win_h = pitch * random.uniform(0.4, 0.62), storey * s * random.uniform(0.48, 0.62)
    if kind == 2:  # ribbon windows of an office
        win_w, win_h = pitch * 0.92, storey * s * 0.5
    for floor in range(1, floors):
        y = int(h - (ground_floor + storey * floor) * s + storey * s * 0.24 + 0.2 * s)
        for b in range(bays):
            x = int((b + 0.5) * pitch - win_w / 2)
            _window(art, random, x, y, int(win_w), int(win_h), glass, frame)
        if kind == 1:  # a ledge between the floors
            line = int(h - (ground_floor + storey * (floor - 1)) * s)
            art[line - 2 : line + 1] *= 1.16
            art[line + 1 : line + 3] *= 0.75
    _ground_floor(art, random, int(ground_floor * s), bays, pitch, glass, frame, shop=random.random() < 0.45)
    art[:5] *= 0.62  # eaves
    art[5:9] *= 1.12
    art[-6:] *= 0.6
    drain = int(random.integers(2, w - 2))
    art[:, drain - 1 : drain + 1] *= 0.7
    art[:, :2] *= 0.72
    art *= np.linspace(1.04, 0.9, h, dtype=np.float32)[:, None, None]
    art *= np.array(look.light, np.float32) * shade
    return _finish(art, BUILDING), length, height


def _window(
    art: NDArray[np.float32],
    random: np.random.Generator,
    x: int,
    y: int,
    w: int,
    h: int,
    glass: NDArray[np.float32],
    frame: NDArray[np.float32],
) -> None:
    """A window with a frame, a sill and something behind or mirrored in the glass."""
    art[y - 2 : y + h + 2, x - 2 : x + w + 2] = frame
    tone = random.uniform(0.55, 1.5)
    art[y : y + h, x : x + w] = glass * tone * np.linspace(1.3, 0.8, max(1, h), dtype=np.float32)[:, None, None]
    if random.random() < 0.4:
        art[y : y + int(h * random.uniform(0.2, 0.7)), x : x + w] = frame * 0.85  # a blind
    middle = x + w // 2
    art[y : y + h, middle - 1 : middle + 1] = frame * 0.9
    art[y + h // 2 : y + h // 2 + 1, x : x + w] = frame * 0.9
    art[y + h + 2 : y + h + 5, x - 3 : x + w + 3] *= 0.7


def _ground_floor(
    art: NDArray[np.float32],
    random: np.random.Generator,
    tall: int,
    bays: int,
    pitch: float,
    glass: NDArray[np.float32],
    frame: NDArray[np.float32],
    shop: bool,
) -> None:
    h, w = art.shape[:2]
    top = h - tall
    if shop:
        colour = random.uniform(30, 200, 3).astype(np.float32)
        art[top + 4 : h] *= 0.55
        art[top + 4 : top + 15] = colour
        for mark in range(int(w * 0.2), int(w * 0.7), 7):
            art[top + 7 : top + 12, mark : mark + int(random.integers(2, 6))] = 255 - colour * 0.4
        art[top + 18 : h - 8, 6 : w - 6] = glass * np.linspace(1.5, 0.9, tall - 26, dtype=np.float32)[:, None, None]
        spots = random.uniform(40, 210, (3, 9, 3)).astype(np.float32)
        goods = cv2.resize(spots, (w - 12, tall - 26), interpolation=cv2.INTER_NEAREST)
        art[top + 18 : h - 8, 6 : w - 6] += (goods - 110) * 0.25
        for b in range(bays + 1):
            art[top + 15 : h, max(0, int(b * pitch) - 2) : int(b * pitch) + 2] = frame * 0.7
        return
    door = int(random.integers(bays))
    for b in range(bays):
        x = int((b + 0.5) * pitch)
        half = int(pitch * 0.24)
        if b == door:
            art[h - 36 : h - 2, x - 9 : x + 9] = frame
            art[h - 34 : h - 2, x - 7 : x + 7] = random.uniform(30, 130, 3)
        else:
            _window(art, random, x - half, top + 14, 2 * half, int(tall * 0.45), glass, frame)


def fence(random: np.random.Generator, look: Look, kind: int) -> tuple[NDArray[np.uint8], float, float]:
    """Planks, iron bars before a hedge, or a low wall with a rail; with its length and height in metres."""
    s = WALL_SCALE
    length, height = 12.0, float((1.7, 1.3, 1.1)[kind])
    h, w = int(height * s * 2), int(length * s)
    art = np.empty((h, w, 3), np.float32)
    if kind == 0:
        art[:] = np.array([132, 104, 76], np.float32) * random.uniform(0.8, 1.15)
        tones = np.repeat(random.uniform(0.84, 1.12, w // 3 + 1), 3)[:w].astype(np.float32)
        art *= tones[None, :, None]
        art[:, ::3] *= 0.72
        art[h // 5 : h // 5 + 3] *= 0.7
        art[-h // 4 : -h // 4 + 3] *= 0.7
    elif kind == 1:
        art[:] = np.array(look.foliage, np.float32) * 0.7
        art += _patch(random, h, w, 3)[..., None] * 14
        art[:, ::5] = (38, 40, 44)
        art[:, 1::5] = (52, 54, 58)
        art[4:8] = (34, 36, 40)
        art[-8:-4] = (34, 36, 40)
    else:
        art[:] = np.array([168, 164, 156], np.float32)
        art[: h // 2 : 6] *= 0.45
        art[: h // 2, ::12] *= 0.5
        art[h // 2 :] *= 0.85
        art[h // 2 :: 6] *= 0.9
    art += _patch(random, h, w, 4)[..., None] * 6
    art *= np.array(look.light, np.float32) * random.uniform(0.8, 1.0)
    return _finish(art, FENCE), length, height


def tree(random: np.random.Generator, look: Look) -> NDArray[np.uint8]:
    """A tree [480, 360, 4]: clumps of leaves that are lit from above, with holes, on a forked trunk."""
    h, w = 480, 360
    label = np.full((h, w), NOTHING, np.uint8)
    art = np.zeros((h, w, 3), np.float32)
    trunk = np.array([84, 70, 58], np.float32) * random.uniform(0.7, 1.1)
    lean = int(random.integers(-14, 15))
    cv2.line(label, (w // 2, h), (w // 2 + lean, h // 2), TREE, 17)
    for _ in range(5):
        tip = (int(w * random.uniform(0.2, 0.8)), int(h * random.uniform(0.2, 0.45)))
        cv2.line(label, (w // 2 + lean, int(h * 0.58)), tip, TREE, 7)
    art[label == TREE] = trunk
    art[:, : w // 2 + lean // 2] *= 0.75
    depth = np.zeros((h, w), np.float32)
    for _ in range(46):  # clumps: each a ball that the later ones stand before
        angle, radius = random.uniform(0, 2 * np.pi), random.uniform(0.1, 1.0) ** 0.5
        x = w / 2 + lean + np.cos(angle) * radius * w * 0.36
        y = h * 0.36 + np.sin(angle) * radius * h * 0.27
        size = int(random.uniform(0.1, 0.19) * w)
        light = 1.12 - 0.42 * (y / h - 0.1) / 0.55 + random.uniform(-0.1, 0.1)
        cv2.circle(depth, (int(x), int(y)), size, float(light), -1)
    leaves = _patch(random, h, w, 4)
    edge = cv2.blur((depth > 0).astype(np.float32), (31, 31))
    leafy = (depth > 0) & (edge + 0.17 * leaves > 0.42)
    soft = cv2.GaussianBlur(depth, (0, 0), 7)
    tone = 0.45 * soft + 0.55 * depth + 0.17 * leaves + 0.05 * _patch(random, h, w, 1)
    colour = np.array(look.foliage, np.float32) * random.uniform(0.85, 1.2, 3).astype(np.float32)
    art[leafy] = (colour * tone[..., None])[leafy]
    label[leafy] = TREE
    art *= np.array(look.light, np.float32)
    return _finish(art, label)


def ground(random: np.random.Generator, look: Look) -> NDArray[np.uint8]:
    """Road, kerbs, pavement and grass from above: rows along the street, columns across it."""
    h, w = int(GROUND_LENGTH * GROUND_SCALE_Z), int(2 * GROUND_HALF * GROUND_SCALE_X)
    x = (np.arange(w, dtype=np.float32) + 0.5) / GROUND_SCALE_X - GROUND_HALF  # metres
    z = (np.arange(h, dtype=np.float32) + 0.5) / GROUND_SCALE_Z
    away = np.abs(x)
    fine = np.tile(rough(512, 2, 2), (h // 512 + 1, w // 512 + 1))[:h, :w]
    coarse = cv2.resize(rough(512, 6, 4), (w, h), interpolation=cv2.INTER_LINEAR)
    worn = np.minimum(np.abs(away - 1.0), np.abs(away - 2.5))  # where the wheels run
    grey = look.asphalt * (1.0 + 0.06 * np.clip(1 - worn * 2.2, 0, 1))[None, :] + fine * 3.5 + coarse * 4.5
    art = cv2.merge((grey * 0.98, grey, grey * 1.03))
    for _ in range(14):  # patches and manholes
        px, pz = int(random.uniform(0.25, 0.75) * w), int(random.uniform(0, h - 45))
        pw, ph = int(random.uniform(15, 60)), int(random.uniform(4, 40))
        art[pz : pz + ph, px : px + pw] *= random.uniform(0.82, 1.05)
    paint = np.array([222, 222, 214], np.float32)
    faded = (0.86 + 0.1 * np.clip(coarse, -2, 1))[..., None]
    dash = (z % 8.0) < 3.4
    _mark(art, dash, away < 0.07, paint, faded)
    _mark(art, np.ones(h, bool), np.abs(away - (look.road - 2.1)) < 0.05, paint * 0.85, faded)
    _mark(art, np.ones(h, bool), (away > look.road - 0.5) & (away < look.road - 0.38), paint * 0.8, faded)
    start = look.crossing
    stripes = (away < look.road - 0.55) & ((x % 1.0) < 0.5)
    _mark(art, (z > start) & (z < start + 3.2), stripes, paint, faded)
    kerb = (away >= look.road) & (away < look.road + 0.16)
    paving = (away >= look.road + 0.16) & (away < look.walls + 0.6)
    grass = away >= look.walls + 0.6
    art[:, kerb] = 176 + 5 * fine[:, kerb, None]
    relief = 1.0 + 0.035 * coarse[:, paving] + 0.018 * fine[:, paving]
    relief[:, (away[paving] % 0.6) < 0.05] *= 0.86  # joints between the flags
    relief[(z % 0.9) < 0.12] *= 0.9
    art[:, paving] = relief[..., None] * np.array(look.paving, np.float32)
    lawn = np.array(look.foliage, np.float32) * 1.12
    art[:, grass] = (fine[:, grass] * 9 + coarse[:, grass] * 7)[..., None] + lawn
    shadow = np.clip((x * look.sunny_side - look.road * 0.35) / 0.5, 0, 1)  # the houses' shadow
    dapple = np.clip(coarse * 1.6, 0, 1) * np.clip((away - 2.0) / 2.0, 0, 1)[None, :]  # the trees' shadow
    light = (1.0 - look.contrast * 0.75 * shadow)[None, :] * (1.0 - look.contrast * 0.6 * dapple)
    art = cv2.multiply(art, cv2.merge([light * c for c in look.light]))
    label = np.full(w, TREE, np.uint8)
    label[away < look.walls + 0.6] = PAVEMENT
    label[away < look.road] = ROAD
    return _finish(art, np.broadcast_to(label, (h, w)))


def _mark(
    art: NDArray[np.float32],
    rows: NDArray[np.bool_],
    columns: NDArray[np.bool_],
    paint: NDArray[np.float32],
    faded: NDArray[np.float32],
) -> None:
    place = np.ix_(rows, columns)
    art[place] = art[place] * 0.2 + paint * faded[place] * 0.8


def sky(random: np.random.Generator, look: Look, width: int, height: int) -> NDArray[np.uint8]:
    """A gradient with clouds, twice as wide as the picture so that the clouds can move. [height, width, 4]"""
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** 1.3
    top, low = np.array(look.sky_top, np.float32), np.array(look.sky_low, np.float32)
    art = np.broadcast_to(top * (1 - down) + low * down, (height, width, 3)).copy()
    noise = np.zeros((48, 96), np.float32)
    for octave in range(1, 5):
        small = random.standard_normal((48 >> octave, 96 >> octave)).astype(np.float32)
        noise += cv2.resize(small, (96, 48), interpolation=cv2.INTER_CUBIC) * 1.9**octave
    noise = (noise - noise.mean()) / noise.std()
    noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    detail = cv2.resize(rough(512, 7, 5), (width, height), interpolation=cv2.INTER_CUBIC)
    cloud = np.clip((noise + 0.35 * detail + look.clouds * 3.2 - 1.9) * 0.9, 0, 1)[..., None]
    white = np.minimum(255, low * 1.05 + 14)
    shaded = white * (0.93 + 0.06 * np.clip(detail, -2, 1))[..., None]
    art += (shaded - art) * cloud * 0.85
    side = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None] * look.sunny_side
    art *= 1.0 + 0.05 * side
    return _finish(art, SKY)


def skyline(random: np.random.Generator, look: Look, width: int, height: int) -> NDArray[np.uint8]:
    """What closes the street far away: roofs and treetops in haze. [height, width, 4]"""
    label = np.full((height, width), NOTHING, np.uint8)
    art = np.zeros((height, width, 3), np.float32)
    haze = np.array(look.sky_low, np.float32)
    x = 0
    while x < width:
        w = int(random.uniform(0.02, 0.07) * width) + 2
        tall = int(height * random.uniform(0.25, 0.62))
        colour = np.array(look.lit(_FACADES[int(random.integers(len(_FACADES)))]), np.float32)
        art[height - tall :, x : x + w] = colour * 0.42 + haze * 0.52
        label[height - tall :, x : x + w] = BUILDING
        x += w
    for _ in range(26):
        cx, size = int(random.uniform(0, width)), int(height * random.uniform(0.16, 0.4))
        disc = np.zeros((height, width), np.uint8)
        cv2.ellipse(disc, (cx, height), (int(size * 1.4), size), 0, 0, 360, 1, -1)
        place = disc == 1
        art[place] = np.array(look.lit(look.foliage), np.float32) * 0.6 + haze * 0.38
        label[place] = TREE
    art += np.resize(rough(512, 3, 1), (height, width))[..., None] * 4
    return _finish(art, label)


def sensor_noise(random: np.random.Generator, width: int, height: int, amount: float) -> NDArray[np.uint8]:
    """Noise around 128, mostly the same in the three colours. [height, width, 3]"""
    grey = random.standard_normal((height, width, 1), np.float32)
    colour = random.standard_normal((height, width, 3), np.float32)
    return np.clip(128.5 + amount * (0.8 * grey + 0.6 * colour), 0, 255).astype(np.uint8)
