"""The camera in the car: where it is at a time, and how points of the street fall into the picture."""

from __future__ import annotations

from dataclasses import dataclass
from math import sin
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segstream.scenes.looks import Look

NEAR = 0.8  # metres: nothing nearer is drawn
FAR = 170.0  # metres: nothing farther is drawn


@dataclass(frozen=True, slots=True)
class View:
    """A pinhole camera that looks along the street (z), x to the right, y up; metres, seconds, pixels."""

    time: float
    z: float  # way driven
    x: float  # sideways from the middle of the street
    y: float  # above the road
    focal: float
    cx: float
    horizon: float
    width: int
    height: int

    @classmethod
    def at(cls, time: float, width: int, height: int, look: Look) -> View:
        """The camera `time` seconds into the drive: it rocks a little and drifts within its lane."""
        focal = 0.52 * max(width, 1.45 * height) * look.zoom
        way = look.speed * (time + 1.2 * sin(time * 0.35 + look.phase))
        yaw = 0.022 * sin(time * 0.27 + look.phase) + 0.004 * sin(time * 1.3)
        pitch = 0.003 * sin(time * 5.1) + 0.002 * sin(time * 8.7 + 1)
        return cls(
            time=time,
            z=way,
            x=look.side * 1.5 + 0.25 * sin(time * 0.4),
            y=look.camera_height,
            focal=focal,
            cx=width / 2 + focal * yaw,
            horizon=height * look.horizon + focal * pitch,
            width=width,
            height=height,
        )

    def u(self, x: float, z: float) -> float:
        """Column of a point `x` metres from the middle of the street and `z` metres ahead."""
        return self.cx + self.focal * (x - self.x) / z

    def v(self, y: float, z: float) -> float:
        """Row of a point `y` metres above the road and `z` metres ahead."""
        return self.horizon + self.focal * (self.y - y) / z
