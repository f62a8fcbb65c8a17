"""`max_frames` for sources that can be positioned."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left


class FrameLimit:
    """Counts frames from the start of a source, wherever it was positioned meanwhile.

    Playing straight from the start shows `limit` frames. After a seek the source ends at the same frame, so that it can
    be played again and never shows more. Where a place has not been met in order yet, how many frames come before it is
    estimated from the rate. In a loop there is no such place: after a seek the count begins anew.

    Args:
        limit: frames, or None for all.
        start: seconds at which the first frame is expected.
        loop: the source starts again at its end.
    """

    def __init__(self, limit: int | None, start: float = 0.0, loop: bool = False) -> None:
        self._limit, self._loop = math.inf if limit is None else limit, loop
        self._start = start
        self._number = 0  # of the next frame
        self._exact = True
        self._known = array("d")  # seconds of the first frames, in order

    @property
    def reached(self) -> bool:
        return self._number >= self._limit

    def count(self, seconds: float) -> None:
        """A frame of `seconds` is delivered."""
        # Only what can be sought needs its time, and what steps back in time cannot be found by it.
        in_order = not self._known or seconds > self._known[-1]
        if self._limit < math.inf and not self._loop and self._exact and self._number == len(self._known) and in_order:
            self._known.append(seconds)
        self._number += 1

    def seek(self, seconds: float, rate: float | None) -> float | None:
        """The next frame is the one at `seconds`.

        Args:
            seconds: of the frame that the source was positioned to.
            rate: frames per second, if known.

        Returns:
            None, or where the last frame within the limit is, if `seconds` lies beyond; the source must go there.
        """
        if self._limit == math.inf:
            return None
        if self._loop:
            self._number = 0
            return None
        known = self._known
        self._exact = bool(known) and known[0] <= seconds <= known[-1]
        self._number = bisect_left(known, seconds) if self._exact else self._estimate(seconds, rate or 0.0)
        if not self.reached:
            return None
        last = self._number = int(self._limit) - 1
        if last < len(known):
            self._exact = True
            return known[last]
        behind = last - (len(known) - 1 if known else 0)
        # Half a frame earlier, so that rounding does not pass it by.
        return (known[-1] if known else self._start) + (behind - 0.5) / (rate or 1.0)

    def _estimate(self, seconds: float, rate: float) -> int:
        known = self._known
        if known and seconds > known[-1]:
            return len(known) - 1 + max(1, round((seconds - known[-1]) * rate))
        return round((seconds - (known[0] if known else self._start)) * rate)
