"""What a seed decides about a town: light, colours, proportions, traffic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]  # red, green, blue, 0..255

_LIGHTS: tuple[tuple[str, Colour, Colour, Colour, float, float], ...] = (
    # name, light of the ground, sky above, sky at the horizon, share of clouds, contrast of light and shade
    ("noon", (1.02, 1.0, 0.96), (72, 124, 196), (190, 214, 236), 0.45, 0.36),
    ("morning", (1.04, 0.96, 0.86), (110, 150, 200), (240, 222, 196), 0.35, 0.42),
    ("overcast", (0.82, 0.84, 0.88), (172, 180, 190), (222, 226, 228), 0.9, 0.12),
    ("evening", (0.86, 0.72, 0.62), (74, 92, 142), (244, 184, 138), 0.4, 0.34),
    ("haze", (0.92, 0.92, 0.92), (178, 196, 210), (234, 236, 234), 0.2, 0.2),
    ("dusk", (0.62, 0.6, 0.66), (62, 66, 110), (176, 150, 158), 0.5, 0.14),
)


@dataclass(frozen=True, slots=True)
class Look:
    """The decisions of one seed. Lengths in metres, speeds in metres per second."""

    seed: int
    light: Colour
    sky_top: Colour
    sky_low: Colour
    clouds: float
    contrast: float
    sunny_side: int  # -1 left, 1 right
    haze: float  # share of the haze's colour per metre
    side: int  # the side of the street one drives on: -1 left, 1 right
    road: float  # half the width of the road
    walls: float  # distance of the building line from the middle of the street
    speed: float
    zoom: float
    horizon: float
    camera_height: float
    phase: float
    foliage: Colour
    asphalt: float
    paving: Colour
    traffic: float  # 0..1
    people: float
    trees: float
    gaps: float  # share of lots without a building
    crossing: float  # metres from the start of each stretch of ground to its zebra crossing

    def lit(self, colour: Colour, amount: float = 1.0) -> Colour:
        """A surface colour under this light."""
        r, g, b = self.light
        return (colour[0] * r * amount, colour[1] * g * amount, colour[2] * b * amount)

    def hazed(self, colour: Colour, z: float) -> Colour:
        """A colour as seen `z` metres away."""
        a = 1.0 - self.visible(z)
        low = self.sky_low
        return (
            colour[0] + (low[0] - colour[0]) * a,
            colour[1] + (low[1] - colour[1]) * a,
            colour[2] + (low[2] - colour[2]) * a,
        )

    def visible(self, z: float) -> float:
        """Share of a thing's own colour that is left `z` metres away."""
        return float(np.exp(-self.haze * max(0.0, z - 4.0)))


def make_look(seed: int) -> Look:
    """Decide a town. Seed 0 is the fair day that the demo shows."""
    random = np.random.default_rng([7, abs(seed)])
    pick = 0 if seed == 0 else int(random.integers(len(_LIGHTS)))
    _, light, top, low, clouds, contrast = _LIGHTS[pick]

    def between(a: float, b: float) -> float:
        return float(random.uniform(a, b))

    gain = 1.0 if seed == 0 else between(0.88, 1.12)
    road = between(5.4, 6.3)
    return Look(
        seed=seed,
        light=(light[0] * gain, light[1] * gain, light[2] * gain),
        sky_top=top,
        sky_low=low,
        clouds=clouds * between(0.7, 1.1),
        contrast=contrast,
        sunny_side=1 if random.random() < 0.5 else -1,
        haze=between(0.004, 0.009),
        side=1 if random.random() < 0.5 else -1,
        road=road,
        walls=road + between(2.8, 4.6),
        speed=between(8.0, 12.0),
        zoom=1.0 if seed == 0 else between(0.85, 1.3),
        horizon=0.47 if seed == 0 else between(0.40, 0.54),
        camera_height=between(1.3, 1.7),
        phase=between(0.0, 6.0),
        foliage=(between(48, 92), between(88, 122), between(34, 58)),
        asphalt=between(84, 112),
        paving=(between(146, 176), between(140, 164), between(130, 158)),
        traffic=between(0.55, 1.0),
        people=between(0.6, 1.0),
        trees=between(0.35, 0.7),
        gaps=between(0.12, 0.3),
        crossing=between(30.0, 90.0),
    )


def dice(seed: int, kind: int, number: int, count: int) -> NDArray[np.float64]:
    """`count` numbers in 0..1 that belong to thing `number` of a kind: the same whenever it comes into sight."""
    return np.random.default_rng([abs(seed), kind, number & 0xFFFFFFFF]).random(count)
