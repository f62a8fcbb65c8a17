"""The demonstration: a street drawn by the program, with true labels."""

from __future__ import annotations

import math
import re
import time
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from segstream.errors import UsageError
from segstream.frames import Frame
from segstream.scenes import FPS, SMALLEST
from segstream.sources.base import Source, SourceInfo, SourceOptions, check_size
from segstream.sources.limit import FrameLimit

_RATE = FPS
_FRAMES = 10 * FPS
_SIZE = (960, 544)


class DemoSource(Source):
    """Ten seconds of the drawn street, or `max_frames` of it; with `loop` up to `end` again and again, or on for ever.

    Attributes:
        last_labels: uint8 [H, W], the true classes of the frame delivered last.
    """

    last_labels: NDArray[np.uint8] | None = None

    def __init__(self, spec: str, options: SourceOptions) -> None:
        super().__init__(options)
        width, height = _SIZE
        if ":" in spec:
            match = re.fullmatch(r"demo:(\d{1,5})x(\d{1,5})", spec)
            if not match:
                raise UsageError(f"{spec!r} is not a demo; write demo or demo:WIDTHxHEIGHT")
            width, height = int(match.group(1)), int(match.group(2))
        check_size(width, height, spec)
        if min(width, height) < SMALLEST:
            raise UsageError(f"{spec} is too small to be drawn; both sides must be at least {SMALLEST} pixels")
        self._closed = False
        self._limit = FrameLimit(options.max_frames, options.start, options.loop)
        self._first = self._position = _frame_at(options.start)
        self._end: int | None = None if options.end is None else _frame_at(options.end)
        if not options.loop:
            last = self._position + (options.max_frames or _FRAMES)
            self._end = last if self._end is None else min(self._end, last)
        frames = None if self._end is None else self._end - self._position
        self.info = SourceInfo(
            name="demo",
            kind="demo",
            width=width,
            height=height,
            rate=Fraction(_RATE),
            frames=frames,
            duration=None if self._end is None else self._end / _RATE,
            codec="drawn",
            seekable=True,
        )

    def __next__(self) -> Frame:
        from segstream.scenes import render

        if self.options.loop and self._past_end():
            self._position = self._first
        if self._closed or self._limit.reached or self._past_end():
            self.state = "closed" if self._closed else "ended"
            raise StopIteration
        position, self._position = self._position, self._position + 1
        image, self.last_labels = render(position, self.info.width, self.info.height)
        self._limit.count(position / _RATE)
        index, self._delivered = self._delivered, self._delivered + 1
        return Frame(image, index, position, Fraction(1, _RATE), position / _RATE, time.monotonic(), 0, self.info.name)

    def _past_end(self) -> bool:
        return self._end is not None and self._position >= self._end

    def seek(self, seconds: float, before: bool = False) -> None:
        position = _frame_at(seconds) - (1 if before else 0)
        self._position = max(0, position if self._end is None else min(position, self._end - 1))
        self._limit.seek(self._position / _RATE, _RATE)
        self.state = "connected"

    def close(self) -> None:
        self._closed = True


def _frame_at(seconds: float) -> int:
    """Number of the first frame that does not lie before `seconds`."""
    return math.ceil(seconds * _RATE - 1e-6)
