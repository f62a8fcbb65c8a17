"""Records what is shown while it is watched, with its sound, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from segstream.errors import SegstreamError
from segstream.frames import Frame, Result
from segstream.sinks import Sink, VideoOptions, VideoSink
from segstream.sources import Source
from segstream.sources.audio import AudioTap
from segstream.ui.colours import palette_for
from segstream.ui.compose import look_of
from segstream.ui.paint import render
from segstream.ui.state import Settings

_WAITING = 8  # results on their way; then playback waits for the disk, so that no frame is lost
_TIME_BASE = Fraction(1, 90_000)
_CLOSE_SECONDS = 5.0

Say = Callable[[str, str], None]


class Watched(Source):
    """A source as a recording of it is: begins at zero when the recording does, with the sound of what is shown."""

    def __init__(self, source: Source, sound: AudioTap | None) -> None:
        super().__init__(replace(source.options, start=0.0))
        self.info = replace(source.info, start_seconds=0.0)
        self._sound = sound

    def tap_audio(self) -> AudioTap | None:
        return self._sound

    def __next__(self) -> Frame:
        raise StopIteration

    def close(self) -> None:
        pass


class Heard:
    """The sound of a source.

    Attributes:
        tap: its packets.
        template: what their stream is like, for files to come.
    """

    def __init__(self, tap: AudioTap, template: AudioStream) -> None:
        self.tap, self.template = tap, template


def listen(source: Source) -> Heard | None:
    """The sound of a source from its first frame on; None where there is none that can be recorded."""
    tap = source.tap_audio()
    return Heard(tap, tap.template) if tap is not None and tap.template is not None else None


class Recorder:
    """Writes every result given to `put` as the window shows it.

    The file holds what was watched, in the order in which it was: where playback was paused or sought, the next frame
    follows the last one, and the sound does the same.

    Attributes:
        path: the file.
        look: the settings it is drawn with; may be replaced at any time.
        failed: it could not be written; whoever recorded has been told.
    """

    def __init__(self, path: str, look: Settings, source: Source, heard: Heard | None, say: Say) -> None:
        self.path, self.look, self.failed = Path(path), look, False
        self._say, self._heard = say, heard
        self._sound = AudioTap(heard.template) if heard is not None else None
        self._watched = Watched(source, self._sound)
        rate = source.info.rate
        self._step = float(1 / rate) if rate else 0.04
        self._cut, self._from, self._shift, self._end = True, 0.0, 0.0, 0.0
        self._queue: queue.Queue[Result | None] = queue.Queue(_WAITING)
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="segstream-recorder", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Playback was paused or sought: the next frame is to follow the last one without a gap."""
        self._cut = True

    def put(self, result: Result) -> None:
        """Record one result; waits while the disk is behind."""
        placed = self._placed(result)
        while not (self.failed or self._finished.is_set()):
            try:
                self._queue.put(placed, timeout=0.1)
                return
            except queue.Full:
                continue

    def _placed(self, result: Result) -> Result:
        """The result at its time in the file, its sound moved along."""
        seconds = result.pts_seconds or 0.0
        at = seconds + self._shift
        if self._cut or at < self._end - self._step:
            self._cut, self._from, self._shift = False, seconds, self._end - seconds
            at = self._end
        self._end = at + self._step
        if self._heard is not None and self._sound is not None:
            for begin, packet in self._heard.tap.take(seconds + self._step):
                if begin >= self._from and packet.time_base is not None:
                    own = packet.pts if packet.pts is not None else packet.dts
                    self._sound.put(packet, begin + self._shift - float((own or 0) * packet.time_base))
        frame = replace(result.frame, pts=round(at / _TIME_BASE), time_base=_TIME_BASE, pts_seconds=at)
        return replace(result, frame=frame)

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
            sink = VideoSink(self.path, self._watched, VideoOptions(audio="copy"))
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
        sound = " with sound" if self._sound is not None else ""
        saved = f"Saved {frames} frames{sound} to {self.path}"
        self._say(saved if frames else "Nothing was recorded: no frame came.", "note")

    def _next(self) -> Result | None:
        while True:
            try:
                return self._queue.get(timeout=0.05)
            except queue.Empty:
                if self._finished.is_set():
                    return None


class Tape(Sink):
    """The place of a recorder in a pipeline, whether one is running or not.

    It listens to the source's sound from the first frame on, as a recorder may come at any time, and as a sink of the
    pipeline it is closed before the source is: a file is finished while the source's sound can still be read.

    Attributes:
        paused: tells whether playback stands still; what is shown meanwhile is not recorded.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.path = Path()
        self.paused: Callable[[], bool] = lambda: False
        self._source, self._heard = source, listen(source)
        self._recorder: Recorder | None = None

    @property
    def recorder(self) -> Recorder | None:
        """The one that runs; None when there is none, or it failed."""
        if self._recorder is not None and self._recorder.failed:
            self._recorder = None
        return self._recorder

    def record(self, path: str, look: Settings, say: Say) -> None:
        """Record from the next frame on."""
        self._recorder = Recorder(path, look, self._source, self._heard, say)

    def stop(self) -> Recorder | None:
        """Let the recorder finish its file; it says when it has."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.finish()
        return recorder

    def cut(self) -> None:
        """Playback was paused or sought."""
        if self._recorder is not None:
            self._recorder.cut()

    def write(self, result: Result, picture: NDArray[np.uint8] | None) -> None:
        recorder = self.recorder
        if recorder is not None and not self.paused():
            recorder.put(result)
        elif self._heard is not None:
            self._heard.tap.take(result.pts_seconds or 0.0)  # sound that nobody records must not pile up

    def close(self) -> None:
        recorder = self.stop()
        if recorder is not None:
            recorder.join(_CLOSE_SECONDS)
