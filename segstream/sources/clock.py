"""One timeline for a live source, whatever the timestamps of its connections are."""

from __future__ import annotations

# Between the timestamps of a stream and the wall clock, beyond which the timestamps are not believed.
_MAX_DRIFT = 5.0


class LiveClock:
    """Maps the timestamps of successive connections to seconds since the first picture, never backwards.

    Within a connection the stream's own timestamps count. A new connection starts where the wall clock is, so the time
    without pictures is a gap and not a jump in speed. All times are in seconds; `now` is `time.monotonic()`.
    """

    def __init__(self) -> None:
        self._origin: float | None = None  # wall clock at the first picture
        self._shift: float | None = None  # what this connection's timestamps are short of
        self._last: float | None = None

    def connect(self, now: float) -> None:
        """A new connection: its timestamps have nothing to do with those before."""
        self._shift = None

    def _elapsed(self, now: float) -> float:
        if self._origin is None:
            self._origin = now
        return now - self._origin

    def shift_for(self, seconds: float, now: float) -> float:
        """What to add to a timestamp of this connection."""
        elapsed = self._elapsed(now)
        if self._shift is None or abs(seconds + self._shift - elapsed) > _MAX_DRIFT:
            self._shift = max(elapsed, self._last or 0.0) - seconds
        return self._shift

    def video(self, seconds: float | None, now: float) -> float:
        """Time of a picture, strictly after the one before it; `seconds` is None where the stream has no timestamp."""
        at = self._elapsed(now) if seconds is None else seconds + self.shift_for(seconds, now)
        if self._last is not None and at <= self._last:
            at = self._last + 1e-3
        self._last = at
        return at
