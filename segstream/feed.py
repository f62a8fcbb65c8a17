"""From a source into the pipeline: a thread that reads ahead in files, or the newest frame of a live source."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segstream.errors import SegstreamError, SourceError, UsageError
from segstream.frames import Frame
from segstream.sources.base import Source
from segstream.sources.live import LiveSource

FrameMemory = Callable[[int, int], "NDArray[np.uint8] | None"]  # see `Segmenter.frame_memory`


@dataclass(frozen=True, slots=True)
class Fed:
    """A frame on its way in, with the number of the seek it belongs to and the milliseconds it took to read."""

    frame: Frame
    generation: int
    read_ms: float


class Feed:
    """Frames of one source without blocking whoever takes them.

    Args:
        source: read by a thread of the feed, unless it is live and has its own.
        wake: set whenever there may be something to take.
        size: frames read ahead.
        memory: where frames that have to wait for the network are copied to by the thread that reads them, so that they
            reach it sooner; None for no copies. Frames that it waits for are not kept back to be copied, nor are those
            of a live source, which are read when they are taken.
    """

    def __init__(self, source: Source, wake: threading.Event, size: int = 3, memory: FrameMemory | None = None) -> None:
        self.source = source
        self.generation = 0
        self.ended = False
        self._wake, self._size, self._memory = wake, size, memory
        self._ready: deque[Fed] = deque()
        self._changed = threading.Condition()
        self._stop = False
        self._command: tuple[float, bool] | None = None
        self._error: SegstreamError | None = None
        self._exhausted = False
        self._awaited = False  # somebody wanted a frame and there was none
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if isinstance(self.source, LiveSource):
            self.source.on_frame = self._wake.set
        else:
            self._thread = threading.Thread(target=self._read, name=f"reading {self.source.info.name}", daemon=True)
            self._thread.start()

    def try_take(self) -> Fed | None:
        """The next frame if there is one now; None if not, or if the feed has `ended`.

        Raises:
            SegstreamError: the source failed; what it delivered before has been taken.
        """
        if self.ended:
            return None
        if isinstance(self.source, LiveSource):
            return self._take_live(self.source)
        with self._changed:
            self._awaited = not self._ready
            if self._ready:
                fed = self._ready.popleft()
                self._changed.notify_all()
                return fed
            if self._exhausted and self._command is None:
                # A file at its end can still be positioned, so only the reader's own end ends the feed.
                self.ended = True
                if self._error is not None:
                    raise self._error
            return None

    def _take_live(self, source: LiveSource) -> Fed | None:
        begin = time.perf_counter()
        try:
            frame = source.try_next()
        except StopIteration:
            self.ended = True
            return None
        except SegstreamError:
            self.ended = True
            raise
        if frame is None:
            return None
        return Fed(frame, self.generation, (time.perf_counter() - begin) * 1e3)

    def seek(self, seconds: float, before: bool = False) -> None:
        """Go on from `seconds`; what was read ahead is thrown away. Of a source that failed nothing more comes."""
        if not self.source.info.seekable:
            raise SourceError(f"{self.source.info.name} cannot be positioned: it is not a file")
        with self._changed:
            if self._error is not None:
                return  # whoever read has ended
            self.generation += 1
            self._command = (seconds, before)
            self._ready.clear()
            self.ended = self._exhausted = False
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        self.source.close()
        if self._thread is not None:
            self._thread.join(2.0)

    def _read(self) -> None:
        try:
            while self._wait_for_room():
                with self._changed:
                    command, self._command = self._command, None
                    generation = self.generation
                begin = time.perf_counter()
                if command is not None:
                    self.source.seek(*command)
                frame = next(self.source, None)
                if frame is not None and self._memory is not None and not self._awaited:
                    frame = moved(frame, self._memory)
                read_ms = (time.perf_counter() - begin) * 1e3
                with self._changed:
                    if generation != self.generation:
                        continue
                    if frame is None:
                        self._exhausted = True
                    else:
                        self._ready.append(Fed(frame, generation, read_ms))
                self._wake.set()
        except SegstreamError as error:
            self._error = error
        except Exception as error:  # must reach the pipeline, which would wait for ever
            name = self.source.info.name
            self._error = SourceError(f"{name} failed while it was read ({type(error).__name__}: {error})")
            self._error.__cause__ = error
        if self._error is not None:
            with self._changed:
                self._exhausted = True
        self._wake.set()

    def _wait_for_room(self) -> bool:
        """Wait until a frame is wanted. False when the feed has been stopped."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stop or self._command or (not self._exhausted and len(self._ready) < self._size)
            )
            return not self._stop


def moved(frame: Frame, memory: FrameMemory) -> Frame:
    """The same frame with its image in such memory, if there is some."""
    try:
        image = memory(*frame.image.shape[:2])
    except UsageError:
        return frame  # too large a frame; the segmenter will say so
    if image is None:
        return frame
    np.copyto(image, frame.image)
    return replace(frame, image=image)
