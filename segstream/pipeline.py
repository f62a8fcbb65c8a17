"""The straight line from sources to sinks: read, segment, draw and write at the same time, in threads.

For every source one thread reads, one thread runs the network for all, and for every source one thread draws and
writes. The queues between them are short: a file is read no faster than it is written, and a live source is asked for
its newest frame at the moment the network is free. Whatever fails first ends everything, the outputs are finished, and
the failure is raised once, by `wait`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from segstream.errors import EngineError, OutputError, SegstreamError, UsageError
from segstream.feed import Fed, Feed
from segstream.frames import Frame, Result
from segstream.interruption import stop_on_signals
from segstream.lanes import DrawOptions, Lane, Running
from segstream.pace import BudgetController
from segstream.sources.base import Source
from segstream.stats import Collector, PipelineStats

if TYPE_CHECKING:
    from segstream.recording import RecordSummary, record, stream

__all__ = ["DrawOptions", "Lane", "Pipeline", "RecordSummary", "record", "stop_on_signals", "stream"]

OnResult = Callable[[Result, "NDArray[np.uint8] | None", int], None]


def __getattr__(name: str) -> object:
    if name in ("RecordSummary", "record", "stream"):
        from segstream import recording

        return getattr(recording, name)
    raise AttributeError(f"module 'segstream.pipeline' has no attribute {name!r}")


class Segments(Protocol):
    """What the pipeline asks of a segmenter."""

    budget: float

    def __call__(self, image: Frame, previous: Result | None = None) -> Result:
        """Segment a frame; `previous` is the result for the frame before it, None after a seek."""
        ...


class Pipeline:
    """Runs sources through a segmenter into sinks.

    Args:
        lanes: a source, a lane, or several lanes that share the segmenter fairly.
        segmenter: called with one frame after the other, always from the same thread. If it has a `frame_memory` like
            `Segmenter`, the threads that read put frames there.
        draw: how results are drawn for `on_result` and the sinks; None if `on_result` needs no picture. May be replaced
            while running.
        on_result: called with result, picture (or None) and number of the lane after the sinks have written.
        target_fps: frames per second to keep up with, by adapting the segmenter's budget of high blocks. What it is set
            to stays the most that they may be, and is put back at the end.
        speed: play files at this multiple of their own speed; None for as fast as possible.
        queue_size: frames that wait between two stages.
        keep_open: at the end of the sources wait for `seek` or `stop` instead of ending.
    """

    def __init__(
        self,
        lanes: Source | Lane | Sequence[Lane],
        segmenter: Segments,
        *,
        draw: DrawOptions | None = None,
        on_result: OnResult | None = None,
        target_fps: float | None = None,
        speed: float | None = None,
        queue_size: int = 3,
        keep_open: bool = False,
    ) -> None:
        if isinstance(lanes, Source):
            lanes = Lane(lanes)
        if isinstance(lanes, Lane):
            lanes = [lanes]
        if not lanes:
            raise UsageError("a pipeline needs at least one source")
        self.draw = draw
        self.error: SegstreamError | None = None
        self._segmenter, self._on_result, self._keep_open = segmenter, on_result, keep_open
        self._wake, self._stop, self._done = threading.Event(), threading.Event(), threading.Event()
        memory = getattr(segmenter, "frame_memory", None)
        self._lanes = [
            Running(lane, i, Feed(lane.source, self._wake, queue_size, memory), queue_size)
            for i, lane in enumerate(lanes)
        ]
        self._collector = Collector()
        self._control = threading.Lock()
        self._callback = threading.Lock()
        self._failed = False
        self._speed = speed
        self._paused = False
        self._steps = 0
        self._controller = BudgetController(target_fps) if target_fps is not None else None
        # With a target rate: what the user allows, and what the segmenter was told last.
        self._own_budget = self._told_budget = getattr(segmenter, "budget", 1.0)
        self._thread = threading.Thread(target=self._supervise, name="segmenting", daemon=True)

    # --- control, from any thread ---

    def start(self) -> None:
        """Run in a thread of its own; see `wait`."""
        self._collector.begin()
        self._thread.start()

    def stop(self) -> None:
        """End soon: what is on its way is finished, the outputs are closed."""
        self._stop.set()
        self._wake.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end; True if it has ended."""
        return self._done.wait(timeout)

    def wait(self) -> None:
        """Wait for the end and raise what went wrong. Ctrl-C stops the pipeline and finishes the outputs first."""
        try:
            while not self.join(0.2):
                pass
        except KeyboardInterrupt:
            self.stop()
            self.join()
            raise
        if self.error is not None:
            raise self.error

    def run(self, on_start: Callable[[Pipeline], None] | None = None) -> None:
        """Run to the end in the calling thread, and raise what went wrong, as `wait` does.

        Faster on a CPU than `start` and `wait` if this thread has built the segmenter: OpenMP keeps a pool of threads
        for every thread that computes, and a second pool makes both of them slow.
        """
        self._collector.begin()
        if on_start is not None:
            on_start(self)
        try:
            self._supervise()
        except KeyboardInterrupt:
            self.stop()
            if not self._done.is_set():
                self._finish()  # Ctrl-C came just then
            raise
        if self.error is not None:
            raise self.error

    @property
    def running(self) -> bool:
        return self._collector.began and not self._done.is_set()

    @property
    def ended(self) -> bool:
        """Whether every source is at its end and its last result has been delivered; a `seek` makes it false again."""
        return all(lane.feed.ended and not lane.results.unfinished_tasks for lane in self._lanes)

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop, or failed, before the sources ended."""
        return self._stop.is_set()

    @property
    def paused(self) -> bool:
        return self._paused

    def pause(self) -> None:
        with self._control:
            self._paused = True

    def resume(self) -> None:
        with self._control:
            self._paused, self._steps = False, 0
        self._restart_clocks()
        self._wake.set()

    def step(self, direction: int = 1) -> None:
        """Pause, and show the next frame or (files) the one before."""
        with self._control:
            self._paused = True
        lane = self._lanes[0]
        if direction < 0:
            if lane.last_seconds is not None and lane.source.info.seekable:
                self._seek(lane, lane.last_seconds, before=True)
            return
        with self._control:
            self._steps += 1
        self._wake.set()

    def seek(self, seconds: float, lane: int = 0) -> None:
        """Go on from `seconds`; paused, that frame is shown.

        Raises:
            SourceError: the source is live.
        """
        self._seek(self._lanes[lane], max(0.0, seconds), before=False)

    def _seek(self, lane: Running, seconds: float, before: bool) -> None:
        lane.feed.seek(seconds, before)
        lane.metronome.restart()
        with self._control:
            if self._paused:
                self._steps = 1
        self._wake.set()

    def set_speed(self, speed: float | None) -> None:
        self._speed = speed
        self._restart_clocks()

    def _restart_clocks(self) -> None:
        for lane in self._lanes:
            lane.metronome.restart()

    def stats(self) -> PipelineStats:
        lanes = tuple(lane.stats() for lane in self._lanes)
        if self._controller is not None:
            return self._collector.snapshot(lanes, self._told_budget, self._controller.target_fps)
        return self._collector.snapshot(lanes, getattr(self._segmenter, "budget", None), None)

    # --- the segmenting thread ---

    def _supervise(self) -> None:
        try:
            for lane in self._lanes:
                lane.output = threading.Thread(
                    target=self._deliver, args=(lane,), name=f"writing {lane.source.info.name}", daemon=True
                )
                lane.output.start()
                lane.feed.start()
            self._segment()
        except Exception as error:
            self._fail(error)
        finally:
            self._finish()

    def _finish(self) -> None:
        """Let the writing threads finish the outputs, and close the sources."""
        for lane in self._lanes:
            self._put(lane, None)
        for lane in self._lanes:
            if lane.output is not None:
                lane.output.join()
            lane.feed.stop()
        if self._controller is not None and self._budget() == self._told_budget:
            self._segmenter.budget = self._own_budget
        self._collector.end()
        self._done.set()

    def _segment(self) -> None:
        turn = 0
        while not self._stop.is_set():
            self._wake.clear()
            took = None
            if self._may_go_on():
                for offset in range(len(self._lanes)):
                    lane = self._lanes[(turn + offset) % len(self._lanes)]
                    took = self._take(lane)
                    if took is not None:
                        turn = lane.index + 1
                        break
            if took is not None:
                self._segment_one(lane, took)
            elif all(lane.feed.ended for lane in self._lanes) and not self._keep_open:
                return
            else:
                self._wake.wait(0.1)

    def _may_go_on(self) -> bool:
        with self._control:
            return not self._paused or self._steps > 0

    def _take(self, lane: Running) -> Fed | None:
        if lane.results.full():
            return None
        try:
            return lane.feed.try_take()
        except SegstreamError as error:
            # With several sources the others go on; the failure is raised at the end.
            self.error = self.error or error
            return None

    def _segment_one(self, lane: Running, fed: Fed) -> None:
        self._collector.stage("decode", fed.read_ms)
        begin = time.perf_counter()
        result = self._segmenter(fed.frame, lane.last if fed.generation == lane.generation else None)
        lane.last, lane.generation = result, fed.generation
        milliseconds = (time.perf_counter() - begin) * 1e3
        self._collector.stage("infer", milliseconds)
        if self._controller is not None:
            self._tell_budget(self._controller.update(milliseconds, result.high_share))
        with self._control:
            if self._paused and self._steps > 0 and fed.generation == lane.feed.generation:
                self._steps -= 1
        self._put(lane, (result, fed.generation))

    def _budget(self) -> float:
        """What the segmenter holds to, of one that has none yet what it is taken to have."""
        return getattr(self._segmenter, "budget", self._told_budget)

    def _tell_budget(self, allowed: float) -> None:
        """Hold the segmenter to what the target rate allows, within what its user does."""
        if self._budget() != self._told_budget:
            self._own_budget = self._told_budget = self._budget()  # changed while it runs
        told = min(self._own_budget, allowed)
        if told != self._told_budget:  # what stays is not written over what the user sets just now
            self._segmenter.budget = self._told_budget = told

    def _put(self, lane: Running, item: tuple[Result, int] | None) -> None:
        while lane.output is not None and lane.output.is_alive():
            try:
                lane.results.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    # --- the writing threads ---

    def _deliver(self, lane: Running) -> None:
        try:
            while (item := lane.results.get()) is not None:
                self._wake.set()  # there is room for a result again
                result, generation = item
                if generation == lane.feed.generation:
                    self._deliver_one(lane, result)
                lane.results.task_done()
        except Exception as error:
            self._fail(error)
        self._close_sinks(lane)

    def _deliver_one(self, lane: Running, result: Result) -> None:
        begin = time.perf_counter()
        draw = self.draw
        if draw is None and any(sink.needs_picture for sink in lane.sinks):
            draw = DrawOptions()
        picture = None
        if draw is not None:
            picture = result.plot(
                alpha=draw.alpha, grid=draw.grid, view=draw.view, legend=draw.legend, stats=draw.stats
            )
        drawn = time.perf_counter()
        self._collector.stage("draw", (drawn - begin) * 1e3)
        with _writing():
            for sink in lane.sinks:
                sink.write(result, picture)
        self._collector.stage("write", (time.perf_counter() - drawn) * 1e3)
        if self._speed and not lane.source.info.is_live:
            lane.metronome.wait(result.pts_seconds, self._speed, self._stop)
        lane.frames += 1
        lane.last_seconds = result.pts_seconds
        self._collector.delivered(result)
        if self._on_result is not None:
            with self._callback, _writing():  # it may print
                self._on_result(result, picture, lane.index)

    def _close_sinks(self, lane: Running) -> None:
        for sink in lane.sinks:
            try:
                with _writing():
                    if self._failed:
                        sink.abort()
                    else:
                        sink.close()
            except Exception as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Keep the first failure and end everything."""
        self._failed = True
        if self.error is None:
            self.error = _as_sentence(error)
        self.stop()


@contextmanager
def _writing() -> Iterator[None]:
    """Say of what the system refuses here that it was an output's."""
    try:
        yield
    except OSError as error:
        if isinstance(error, SegstreamError):
            raise
        raise OutputError(f"the output cannot be written ({error.strerror or error})") from error


def _as_sentence(error: Exception) -> SegstreamError:
    if isinstance(error, SegstreamError):
        return error
    if isinstance(error, MemoryError):
        sentence: SegstreamError = EngineError("there is not enough memory; use a smaller --size or another device")
    else:
        sentence = EngineError(f"internal error ({type(error).__name__}: {error}); please report it")
    sentence.__cause__ = error
    return sentence
