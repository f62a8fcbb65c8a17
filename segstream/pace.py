"""Keeping time: how many high blocks a frame may have so that a rate is held, and playing at a file's own speed."""

from __future__ import annotations

import math
import threading
import time
from collections import deque

import numpy as np

from segstream.errors import UsageError

_STEPS = 20  # budgets from 0 to 1
# Shares of the longest time that a frame may take. Above the first it is too slow, a move down aims at the second.
_LIMIT, _AIM = 0.97, 0.90
# A step up must leave frames below the first, and a move up goes as far as the second.
_SPARE, _FILL = 0.85, 0.88
_CLEAR = 0.35  # logarithm of a time that no noise explains: 1.4 times too long or too short
_BELIEF = 0.01  # in the guessed slope: that of a move by a tenth of the blocks


class _Case:
    """The case for a move: how strongly windows in a row speak for it, and the least number of steps they ask for."""

    def __init__(self) -> None:
        self.weight, self.steps = 0.0, math.inf

    def hear(self, excess: float, steps: float) -> None:
        """`excess`: by how much (as a logarithm) a window's time is on the wrong side; less than 0 is on the right."""
        # No window alone is enough, because others may have used the machine just then; a clear one counts twice.
        self.weight = max(0.0, self.weight + min(excess, 0.1) * (2 if excess > _CLEAR else 1))
        self.steps = min(self.steps, steps) if self.weight else math.inf


class BudgetController:
    """Finds the budget of high blocks at which frames take no longer than 1 / `target_fps`, and stays there.

    Time is taken to be linear in the share of high blocks, `t = fixed + slope * share`. Frames are looked at in windows
    of half a second. The budget goes down when windows in a row were too slow, and up when windows in a row say that
    the next step would leave time to spare; between the two is room for noise and drift, and the budget rests. The
    noise that was measured widens it.

    Seconds here are those that the network works: one that waits for its source half of the time takes twice as long.
    Too slow by a half is answered in 1 to 2 s. How soon time to spare is answered depends on how much there is. With
    frames of 10 + 60 * share ms at 25 FPS, it is 1.2 to 1.7 s where they become 40 to 50 % shorter, 3 to 4 s for 15 to
    30 %, 10 s for 10 %, and never where it is less than the next step takes. Each move up that has to be taken back
    doubles what the next one asks for, up to eight times: 48 windows or more, until the load is clearly another.

    Budgets are multiples of 1/20, so that engines that prepare for every number of high blocks meet few.

    Args:
        target_fps: frames per second to hold.
    """

    def __init__(self, target_fps: float) -> None:
        if not target_fps > 0:
            raise UsageError(f"target_fps must be greater than 0, not {target_fps}")
        self.target_fps = target_fps
        self._longest = 1000.0 / target_fps
        self._step = _STEPS  # the budget, as a multiple of 1 / _STEPS
        self._window: list[tuple[float, float]] = []  # milliseconds, share of high blocks
        self._elapsed = 0.0
        self._slower, self._faster = _Case(), _Case()
        self._reach = _STEPS // 2  # steps that the next move down may take
        self._patience = 1.0  # how much stronger the case for a move up must be than usual
        self._rose = False
        self._changes: deque[float] = deque(maxlen=20)  # |logarithm| between the times of windows one after the other
        self._last: tuple[float, float] | None = None  # time and share of the window before
        self._left: tuple[float, float] | None = None  # the same of the window that led to the last move
        # The slope as a multiple of the first guess: sums over the moves seen, with a weak belief in the guess.
        self._seen = self._guessed = _BELIEF

    @property
    def budget(self) -> float:
        """The share of high blocks that the next frame may have, 0..1."""
        return self._step / _STEPS

    def update(self, milliseconds: float, high_share: float) -> float:
        """Take note of a frame and say what the next may cost.

        Args:
            milliseconds: what the network took for it.
            high_share: share of high blocks it had, 0..1.

        Returns:
            the budget for the next frame, 0..1.
        """
        self._window.append((max(milliseconds, 1e-3), high_share))
        self._elapsed += milliseconds
        if len(self._window) >= 4 and self._elapsed >= 500:
            present, share = np.median(self._window, axis=0)  # deaf to single slow frames
            self._window.clear()
            self._elapsed = 0.0
            self._decide(float(present), float(share))
        return self.budget

    def _decide(self, present: float, share: float) -> None:
        slope = self._slope(present, share) / _STEPS  # milliseconds of one step
        noise = self._noise(present, share)
        too_slow = math.log(present / (_LIMIT * self._longest)) - noise
        self._slower.hear(too_slow, (present - _AIM * self._longest) / slope)
        # What frames would take if they used all of the budget. Pictures that use little of it say nothing about more,
        # and a larger budget would only be in the way later.
        whole = present + slope * (self.budget - share) * _STEPS
        to_spare = math.log(_SPARE * self._longest / (whole + slope)) - noise / 2
        if share < self.budget - 1.5 / _STEPS:
            to_spare = -1.0
        self._faster.hear(to_spare, 0.8 * (_FILL * self._longest - whole) / slope)
        if not self._slower.weight:
            self._reach = 1
        if max(too_slow, to_spare) > _CLEAR:
            self._patience = 1.0  # another load: what was learnt of the last is no guide
        if self._slower.weight > 0.25 and self._step > 0:
            # Slightly too slow may pass by itself: one step, then two, then four. Clearly too slow: all at once.
            most = _STEPS // 2 if too_slow > _CLEAR else self._reach
            steps = min(max(1, round(self._slower.steps)), most)
            self._reach = min(2 * self._reach, _STEPS // 2)
            if self._rose:
                self._patience = min(2 * self._patience, 8.0)  # a move up that had to be taken back
            self._move(min(math.floor(share * _STEPS + 1e-6), self._step) - steps, present, share)
        elif self._faster.weight > 0.6 * self._patience and self._step < _STEPS:
            self._move(self._step + max(1, math.floor(self._faster.steps)), present, share)

    def _move(self, step: int, present: float, share: float) -> None:
        step = min(max(step, 0), _STEPS)
        self._rose = step > self._step
        self._step = step
        self._slower, self._faster = _Case(), _Case()
        self._left, self._last = (present, share), None

    def _slope(self, present: float, share: float) -> float:
        """Milliseconds that all blocks together cost more at high resolution than at low."""
        if self._left is not None:
            # Only what a move changed tells of the slope: between other frames the load may have changed as well.
            before, share_before = self._left
            moved = share - share_before
            self._seen = 0.9 * self._seen + 0.1 * _BELIEF + (present - before) * moved / _guess(before, share_before)
            self._guessed = 0.9 * self._guessed + 0.1 * _BELIEF + moved * moved
            self._left = None
        return _guess(present, share) * min(max(self._seen / self._guessed, 0.4), 2.5)

    def _noise(self, present: float, share: float) -> float:
        """By how much the time of a window, as a logarithm, changes to the next: so much says nothing."""
        if self._last is not None and abs(share - self._last[1]) < 1 / _STEPS:
            self._changes.append(min(0.2, abs(math.log(present / self._last[0]))))  # another load is no noise
        self._last = (present, share)
        # However much noise there is, frames that take a tenth too long are a rate that is not held.
        return min(0.08, float(np.mean(self._changes))) if self._changes else 0.0


def _guess(present: float, share: float) -> float:
    """The slope of a network whose low blocks cost two fifths of what high resolution adds to them."""
    return present / (share + 0.4)


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
