"""What a running pipeline does, as numbers: collected by its threads, read by anybody at any time."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from segstream.frames import Result

_WINDOW = 2.0  # seconds over which present values are averaged


@dataclass(frozen=True)
class LaneStats:
    """One source of a pipeline. `frames` counts those written, `total_frames` is what is expected, if known."""

    name: str
    state: str
    frames: int = 0
    dropped: int = 0
    reconnects: int = 0
    errors: int = 0
    pts_seconds: float | None = None
    duration: float | None = None
    total_frames: int | None = None


@dataclass(frozen=True)
class PipelineStats:
    """A snapshot of a pipeline.

    Attributes:
        frames: results delivered so far, of all sources together.
        elapsed_s: seconds since the start.
        fps: frames per second over the last two seconds.
        mean_fps: frames per second over the whole run.
        high_share: share of high-resolution blocks over the last two seconds, 0..1.
        mean_high_share: the same over the whole run.
        gmacs: mean cost of a frame over the whole run, in 1e9 multiply-accumulates.
        dense_gmacs: cost of the dense network on the same frames.
        dropped: frames of live sources that were passed over for newer ones.
        latency_ms: mean time from capture to delivery over the last two seconds.
        latency_max_ms: the longest over the last two seconds.
        stage_ms: milliseconds by stage, smoothed: "decode", the engine's own, "infer", "draw", "write".
        budget: largest share of high blocks allowed, if limited.
        target_fps: frames per second aimed at, if any.
        lanes: one entry a source.
        progress: 0..1 where the number of frames is known.
        eta_s: seconds left at the present speed, where known.
    """

    frames: int = 0
    elapsed_s: float = 0.0
    fps: float = 0.0
    mean_fps: float = 0.0
    high_share: float = 0.0
    mean_high_share: float = 0.0
    gmacs: float = 0.0
    dense_gmacs: float = 0.0
    dropped: int = 0
    latency_ms: float = 0.0
    latency_max_ms: float = 0.0
    stage_ms: dict[str, float] = field(default_factory=dict)
    budget: float | None = None
    target_fps: float | None = None
    lanes: tuple[LaneStats, ...] = ()
    progress: float | None = None
    eta_s: float | None = None


class Collector:
    """Gathers the numbers. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: float | None = None
        self._ended: float | None = None
        self._recent: deque[tuple[float, float, float]] = deque()  # when, share of high blocks, latency in ms
        self._stages: dict[str, float] = {}
        self._frames = 0
        self._high = self._gmacs = self._dense = 0.0

    @property
    def began(self) -> bool:
        return self._began is not None

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> None:
        self._ended = time.monotonic()

    def stage(self, name: str, milliseconds: float) -> None:
        with self._lock:
            before = self._stages.get(name, milliseconds)
            self._stages[name] = before + 0.1 * (milliseconds - before)

    def delivered(self, result: Result) -> None:
        """Count a result that has been written and shown."""
        now = time.monotonic()
        for name, value in result.timings.items():
            self.stage(name, value)
        with self._lock:
            self._frames += 1
            self._high += result.high_share
            self._gmacs += result.gmacs
            self._dense += result.dense_gmacs
            latency = (now - result.frame.captured_at) * 1e3 if result.frame.captured_at else 0.0
            self._recent.append((now, result.high_share, latency))
            while self._recent[0][0] < now - _WINDOW:
                self._recent.popleft()

    def snapshot(self, lanes: tuple[LaneStats, ...], budget: float | None, target_fps: float | None) -> PipelineStats:
        now = self._ended or time.monotonic()
        with self._lock:
            elapsed = now - self._began if self._began is not None else 0.0
            recent = [entry for entry in self._recent if entry[0] >= now - _WINDOW]
            frames, count = self._frames, max(1, self._frames)
            mean = frames / elapsed if elapsed > 0 else 0.0
            span = now - recent[0][0] if recent else 0.0
            fps = (len(recent) - 1) / span if len(recent) > 1 and span > 0 else mean
            totals = [lane.total_frames for lane in lanes]
            known = [total for total in totals if total is not None]
            complete = bool(totals) and len(known) == len(totals) and sum(known) > 0
            progress = min(1.0, frames / sum(known)) if complete else None
            eta = max(0, sum(known) - frames) / mean if complete and mean > 0 else None
            return PipelineStats(
                frames=frames,
                elapsed_s=elapsed,
                fps=fps,
                mean_fps=mean,
                high_share=sum(entry[1] for entry in recent) / max(1, len(recent)),
                mean_high_share=self._high / count,
                gmacs=self._gmacs / count,
                dense_gmacs=self._dense / count,
                dropped=sum(lane.dropped for lane in lanes),
                latency_ms=sum(entry[2] for entry in recent) / max(1, len(recent)),
                latency_max_ms=max((entry[2] for entry in recent), default=0.0),
                stage_ms=dict(self._stages),
                budget=budget,
                target_fps=target_fps,
                lanes=lanes,
                progress=progress,
                eta_s=eta,
            )
