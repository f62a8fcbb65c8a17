"""What every engine offers: a frame in, class map and grid out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segstream.geometry import Geometry


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user chose for the blocks of one frame.

    Attributes:
        policy: name of the policy.
        threshold: score above which a block runs at high resolution.
        budget: largest share of blocks that may.
        seed: for the random policy.
        bonus: float32 [GH, GW], added to the policy's scores (`segstream.policies.bonus_of`), or None; where the
            threshold is 0 it must not be below 0.
    """

    policy: str
    threshold: float
    budget: float = 1.0
    seed: int = 0
    bonus: NDArray[np.float32] | None = None


@dataclass(slots=True)
class EngineOutput:
    """What an engine made of one frame.

    Attributes:
        labels: uint8 [H, W], class by pixel of the frame.
        blocks: bool [GH, GW], true = high resolution.
        geometry: the sizes the frame went through.
        timings: milliseconds by stage: "prepare" (scale, normalise), "policy", "network", "labels".
    """

    labels: NDArray[np.uint8]
    blocks: NDArray[np.bool_]
    geometry: Geometry
    timings: dict[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """Runs a model. Used by one thread at a time, but for `frame_memory`."""

    name: str

    def infer(self, image: NDArray[np.uint8], geometry: Geometry, choice: Choice) -> EngineOutput:
        """Segment an RGB image uint8 [H, W, 3] whose sizes are `geometry`."""
        ...

    def frame_memory(self, geometry: Geometry) -> NDArray[np.uint8] | None:
        """An array uint8 [H, W, 3] from which such a frame reaches the network soonest; None where any array does.

        For any thread, at any time.
        """
        ...

    def close(self) -> None:
        """Give back what the engine holds; it is not used afterwards."""
        ...
