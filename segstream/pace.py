"""Keeping time: how many high blocks a frame may have so that a rate is held, and playing at a file's own speed."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np

from segstream.errors import UsageError


class BudgetController:
    """Finds the budget of high blocks at which frames take no longer than 1 / `target_fps`.

    Time is taken to be linear in the share of high blocks, `t = fixed + slope * share`. The slope comes from the frames
    seen, the budget moves part of the way to the line's crossing with the target, and only when frames take longer than
    the target allows, or clearly less: under a constant load it comes to rest between the two and stays there.

    Args:
        target_fps: frames per second to hold.
        margin: share of the time that is left free for everything that is not the network; a time that eats into it is
            left alone.
        dead_band: how far below the wanted time, as a share of it, a time is left alone.
    """

    _EVERY = 8  # frames between two decisions, so that each sees the effect of the last, and not only noise
    _MEMORY = 90  # frames the slope is fitted on

    def __init__(self, target_fps: float, margin: float = 0.08, dead_band: float = 0.15) -> None:
        if not target_fps > 0:
            raise UsageError(f"target_fps must be greater than 0, not {target_fps}")
        self.target_fps = target_fps
        self.budget = 1.0
        self._longest = 1000.0 / target_fps
        self._wanted = self._longest * (1.0 - margin)
        self._band = self._wanted * dead_band
        self._seen: deque[tuple[float, float]] = deque(maxlen=self._MEMORY)  # share of high blocks, milliseconds
        self._now: list[float] = []

    def update(self, milliseconds: float, high_share: float) -> float:
        """Take note of a frame and say what the next may cost.

        Args:
            milliseconds: what the network took for it.
            high_share: share of high blocks it had, 0..1.

        Returns:
            the budget for the next frame, 0..1.
        """
        self._seen.append((high_share, milliseconds))
        self._now.append(milliseconds)
        if len(self._now) < self._EVERY:
            return self.budget
        # The median is deaf to a single slow frame.
        present = float(np.median(self._now))
        self._now.clear()
        error = self._wanted - present
        if (error <= self._band and present <= self._longest) or (error > 0 and self.budget >= 1.0):
            return self.budget
        share = float(np.median([entry[0] for entry in list(self._seen)[-self._EVERY :]]))
        if error > 0 and share < self.budget - 0.02:
            # The pictures do not use the budget they have: a larger one would only be in the way later.
            return self.budget
        move = error / self._slope()
        # Down at once, up with care: too slow is a queue that grows, too fast is only a coarser picture.
        move = max(move, -0.5) if error < 0 else min(move * 0.5, 0.1)
        self.budget = min(1.0, max(0.0, min(self.budget, share if error < 0 else self.budget) + move))
        return self.budget

    def _slope(self) -> float:
        """Milliseconds that all blocks together cost more at high resolution than at low."""
        shares, times = np.array(self._seen).T
        guess = max(1e-3, float(np.median(times)) / (float(np.median(shares)) + 0.4))
        if np.ptp(shares) < 0.1:
            return guess
        fitted = float(np.polyfit(shares, times, 1)[0])
        # A slope out of noise, or out of a load that changed meanwhile, must not turn the controller round.
        # Too small a slope is the worse mistake, because every move would overshoot.
        return min(max(fitted, guess / 2), guess * 3)


class Metronome:
    """Lets frames out when it is their time, by their timestamps."""

    _MAX_WAIT = 5.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._anchor: tuple[float, float] | None = None  # wall clock, timestamp
        self._changed = threading.Event()

    def restart(self) -> None:
        """Forget the past: after a pause, a jump or a change of speed."""
        with self._lock:
            self._anchor = None
        self._changed.set()

    def wait(self, seconds: float | None, speed: float, stop: threading.Event) -> None:
        """Wait until a frame with timestamp `seconds` is due."""
        if seconds is None:
            return
        with self._lock:
            now = time.monotonic()
            self._changed.clear()
            if self._anchor is not None:
                due = self._anchor[0] + (seconds - self._anchor[1]) / speed
                if seconds >= self._anchor[1] and now - 0.5 < due < now + self._MAX_WAIT:
                    self._anchor = (max(due, now - 0.1), seconds)
                else:
                    self._anchor = None
            if self._anchor is None:
                self._anchor = (now, seconds)
            due = self._anchor[0]
        while not stop.is_set() and not self._changed.is_set():
            left = due - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(min(left, 0.05))
