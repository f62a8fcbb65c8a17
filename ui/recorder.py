"""Records what is shown while it is watched, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from segstream.errors import SegstreamError
from segstream.frames import Result
from segstream.sinks import VideoOptions, VideoSink
from segstream.ui.colours import palette_for
from segstream.ui.compose import look_of
from segstream.ui.paint import render
from segstream.ui.state import Settings

_WAITING = 8  # results on their way; then playback waits for the disk, so that no frame is lost


class Recorder:
    """Writes every result given to `put` as the window shows it.

    Attributes:
        path: the file.
        look: the settings it is drawn with; may be replaced at any time.
        failed: it could not be written; whoever recorded has been told.
    """

    def __init__(self, path: str, look: Settings, say: Callable[[str, str], None]) -> None:
        self.path, self.look, self.failed = Path(path), look, False
        self._say = say
        self._queue: queue.Queue[Result | None] = queue.Queue(_WAITING)
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="segstream-recorder", daemon=True)
        self._thread.start()

    def put(self, result: Result) -> None:
        """Record one result; waits while the disk is behind."""
        while not (self.failed or self._finished.is_set()):
            try:
                self._queue.put(result, timeout=0.1)
                return
            except queue.Full:
                continue

    def finish(self) -> None:
        """Write what is on its way and complete the file, without waiting for it."""
        self._finished.set()

    def join(self, timeout: float) -> bool:
        """Wait for the file to be complete; true when it is."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        frames = 0
        try:
            sink = VideoSink(self.path, options=VideoOptions(audio="none"))
            try:
                while (result := self._next()) is not None:
                    sink.write(result, render(result, palette_for(result, self.look.palette), look_of(self.look)))
                    frames += 1
            finally:
                sink.close()
        except SegstreamError as error:
            self.failed = True
            self._say(str(error), "error")
            return
        except Exception as error:  # the window must say it and live on
            self.failed = True
            self._say(f"{self.path.name} could not be recorded ({type(error).__name__}: {error}).", "error")
            return
        self._say(f"Saved {frames} frames to {self.path}" if frames else "Nothing was recorded: no frame came.", "note")

    def _next(self) -> Result | None:
        while True:
            try:
                return self._queue.get(timeout=0.05)
            except queue.Empty:
                if self._finished.is_set():
                    return None
