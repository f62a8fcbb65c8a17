"""A source and what becomes of it: what the pipeline is told, and what it keeps while it runs."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from segstream.feed import Feed
from segstream.frames import Result
from segstream.pace import Metronome
from segstream.sinks.base import Sink
from segstream.sources.base import Source
from segstream.stats import LaneStats


@dataclass
class DrawOptions:
    """How results are drawn; see `Result.plot`."""

    alpha: float = 0.5
    grid: bool = True
    view: str = "overlay"
    legend: bool = False
    stats: bool = False


@dataclass
class Lane:
    """A source and what becomes of it."""

    source: Source
    sinks: Sequence[Sink] = ()


class Running:
    """A lane at work: its feed, its results on their way out, its counters."""

    def __init__(self, lane: Lane, index: int, feed: Feed, room: int) -> None:
        self.source, self.sinks, self.index, self.feed = lane.source, tuple(lane.sinks), index, feed
        # A live source must not wait behind results that are not shown yet.
        self.results: queue.Queue[tuple[Result, int] | None] = queue.Queue(1 if lane.source.info.is_live else room)
        self.frames = 0
        self.last_seconds: float | None = None
        self.last: Result | None = None  # of the last frame
        self.generation = -1  # of the feed, which a seek counts up: the last frame's
        self.metronome = Metronome()
        self.output: threading.Thread | None = None

    def stats(self) -> LaneStats:
        source = self.source
        return LaneStats(
            name=source.info.name,
            state=source.state,
            frames=self.frames,
            dropped=source.dropped,
            reconnects=source.reconnects,
            errors=source.warnings.errors + source.warnings.corrupt,
            pts_seconds=self.last_seconds,
            duration=source.info.duration,
            total_frames=expected_frames(source),
        )


def expected_frames(source: Source) -> int | None:
    """How many frames a source will deliver, as far as can be said before."""
    info, options = source.info, source.options
    limit = options.max_frames
    if info.is_live or options.loop or info.frames is None:
        return limit
    frames = info.frames
    if info.kind != "demo" and info.rate:
        if options.end is not None:
            frames = min(frames, _frames_before(options.end, info.rate))
        frames = max(0, frames - _frames_before(options.start, info.rate))
    return frames if limit is None else min(frames, limit)


def _frames_before(seconds: float, rate: Fraction) -> int:
    """How many frames of a regular video come before a time."""
    return math.ceil(seconds * float(rate) - 1e-6)
