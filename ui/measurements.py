"""The last minute or so of cost figures, without Qt: what the plots draw and the sentence says."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segstream.frames import Result

LENGTH = 120  # results kept
_SENTENCE_OVER = 15  # results the sentence averages over, so that it can be read
_FPS_OVER_SECONDS = 2.0


@dataclass(frozen=True)
class Measurement:
    """The cost of one frame; milliseconds, units of 1e9 multiply-accumulates, 0..1."""

    at: float
    fps: float
    high_share: float
    gmacs: float
    dense_gmacs: float
    timings: dict[str, float]


class Measurements:
    """A ring of the last `LENGTH` measurements."""

    def __init__(self) -> None:
        self._ring: deque[Measurement] = deque(maxlen=LENGTH)
        self.version = 0  # grows with every change, so that a plot knows whether to draw

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, result: Result, at: float) -> None:
        """Take in one result that arrived at `at` (seconds of `time.monotonic()`)."""
        self._ring.append(
            Measurement(
                at=at,
                fps=self._fps(at),
                high_share=result.high_share,
                gmacs=result.gmacs,
                dense_gmacs=result.dense_gmacs,
                timings=dict(result.timings),
            )
        )
        self.version += 1

    def clear(self) -> None:
        """Forget everything, for a new source."""
        self._ring.clear()
        self.version += 1

    def forget_rate(self) -> None:
        """Do not count the time since the last result as slowness: playback was paused or sought."""
        if self._ring:
            self._ring[-1] = replace(self._ring[-1], at=float("-inf"))

    def _fps(self, now: float) -> float:
        """Results per second over the last two seconds; the last known rate where there is nothing to count."""
        times = [now]
        for item in reversed(self._ring):
            if (now - item.at > _FPS_OVER_SECONDS and len(times) > 1) or item.at == float("-inf"):
                break
            times.append(item.at)
        if len(times) < 2 or times[0] <= times[-1]:
            return self._ring[-1].fps if self._ring else 0.0
        return (len(times) - 1) / (times[0] - times[-1])

    @property
    def last(self) -> Measurement | None:
        return self._ring[-1] if self._ring else None

    def series(self, name: str) -> NDArray[np.float64]:
        """One figure over time, oldest first: "fps", "high_share", "gmacs", "dense_gmacs" or "total_ms"."""
        if name == "total_ms":
            return np.array([sum(item.timings.values()) for item in self._ring], dtype=np.float64)
        return np.array([getattr(item, name) for item in self._ring], dtype=np.float64)

    def stages(self) -> dict[str, NDArray[np.float64]]:
        """Milliseconds over time by stage, stages in the order in which they first occurred."""
        names = dict.fromkeys(name for item in self._ring for name in item.timings)
        return {name: np.array([item.timings.get(name, 0.0) for item in self._ring]) for name in names}

    def sentence(self) -> str:
        """The cost in one plain sentence, averaged over the last frames."""
        if not self._ring:
            return ""
        recent = list(self._ring)[-_SENTENCE_OVER:]
        share = sum(item.high_share for item in recent) / len(recent)
        gmacs = sum(item.gmacs for item in recent)
        return cost_sentence(share, sum(item.dense_gmacs for item in recent) / gmacs if gmacs > 0 else 0.0)


def cost_sentence(high_share: float, ratio: float) -> str:
    """Say that `high_share` (0..1) of the blocks ran high, and that the dense network costs `ratio` times as much."""
    blocks = f"{100 * high_share:.0f} % of blocks at high resolution"
    if ratio <= 0:
        return f"{blocks}."
    if ratio >= 1.05:
        return f"{blocks}: {ratio:.1f} times less work than dense."
    if ratio > 0.95:
        return f"{blocks}: as much work as dense."
    return f"{blocks}: {1 / ratio:.1f} times the work of dense."
