"""From the timestamps of a source to those of a file, which must grow whatever the source's do."""

from __future__ import annotations

from fractions import Fraction

from segstream.frames import Frame

_MAX_GAP_SECONDS = 3600


def file_time_base(frame: Frame) -> Fraction:
    """A time base in which the source's timestamps are exact and no two frames collide."""
    base = frame.time_base
    return base if base is not None and base.numerator == 1 and base.denominator >= 1000 else Fraction(1, 90_000)


class Timeline:
    """Maps frames to ticks of `time_base`: exactly, as long as the source's timestamps grow.

    A jump backwards (joined recordings) or of more than an hour continues one frame after the last; a timestamp that
    is late by less than a frame is moved by one tick.

    Attributes:
        shift: ticks now added to the source's timestamps.
        step: ticks between frames at the nominal rate.
    """

    def __init__(self, time_base: Fraction, rate: Fraction | None) -> None:
        self.time_base = time_base
        self.step = max(1, round(1 / (rate or Fraction(25)) / time_base))
        self.shift = 0
        self._last: int | None = None

    def ticks(self, frame: Frame) -> int:
        raw = self._raw(frame)
        at = raw + self.shift
        if self._last is not None:
            ahead = at - self._last
            if -self.step * 3 // 2 < ahead <= 0:
                at = self._last + 1
            elif ahead <= 0 or ahead > _MAX_GAP_SECONDS / self.time_base:
                self.shift += self._last + self.step - at
                at = self._last + self.step
        self._last = at
        return at

    def _raw(self, frame: Frame) -> int:
        if frame.pts is not None and frame.time_base is not None:
            return round(frame.pts * frame.time_base / self.time_base)
        if frame.pts_seconds is not None:
            return round(frame.pts_seconds / self.time_base)
        return 0 if self._last is None else self._last + self.step - self.shift
