"""Plays what is opened, without Qt: a pipeline of one source behind the buttons of a player.

Every method returns at once; whoever shows the player calls `poll` a few times a second and gets what has changed.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

from segstream.errors import SegstreamError
from segstream.frames import Result
from segstream.pipeline import Lane, Pipeline
from segstream.sources import Source, SourceOptions, open_source, redact
from segstream.ui.engine import Engine, Fixed, Seat
from segstream.ui.memory import give_back
from segstream.ui.recorder import Recorder, Tape
from segstream.ui.state import EMPTY, ENDED, FAILED, OPENING, PAUSED, PLAYING, Network, Settings
from segstream.ui.state import Source as Known

_JOIN_SECONDS = 1.8
_PRESSES_SECONDS = 0.7  # within which two jumps add up
_NETWORK_SETTINGS = ("policy", "threshold", "budget")


class Listener(Protocol):
    """Who hears of results and sentences, from other threads."""

    def put_result(self, result: Result) -> None: ...
    def put_playback(self, changes: dict[str, Any]) -> None: ...
    def put_settings(self, changes: dict[str, Any]) -> None: ...
    def say(self, text: str, kind: str = "note") -> None: ...


@dataclass
class _Opening:
    """A source on its way; `abandoned` when another one was opened, or the window closed, before it came."""

    spec: str
    options: SourceOptions
    name: str
    abandoned: bool = False


@dataclass
class _Playing:
    """A pipeline at work, its seat at the engine, and what has been said about it.

    Attributes:
        at_end: the frame that is shown again is the last one.
        looped: how many frames had come when the loop last started again.
    """

    pipeline: Pipeline
    seat: Seat
    source: Source
    tape: Tape
    said: str = ""
    at_end: bool = False
    looped: int = 0

    def seek(self, seconds: float) -> None:
        self.at_end = False
        self.pipeline.seek(seconds)
        self.tape.cut()

    def step(self, direction: int) -> None:
        self.at_end = False
        self.pipeline.step(direction)
        self.tape.cut()

    def leave(self) -> None:
        self.seat.leave()
        self.pipeline.stop()


class Player:
    """One source, one engine.

    Args:
        listener: hears of results and errors.
        options: how sources are opened.
        fixed: what is set once, on the command line; None for the defaults.
    """

    def __init__(self, listener: Listener, options: SourceOptions | None = None, fixed: Fixed | None = None) -> None:
        self._listener = listener
        self._options = options or SourceOptions()
        self._lock = threading.Lock()
        self._settings = Settings()
        self._opening: _Opening | None = None
        self._playing: _Playing | None = None
        self._source = Known()
        self._failed = False
        self._ending: list[Pipeline] = []  # told to stop, not ended yet
        self._openers: list[threading.Thread] = []
        self._position = 0.0
        self._sought = (0.0, float("-inf"))  # where to, and when
        self._finishing: list[Recorder] = []
        self.latency_ms = 0.0  # from capture to display, measured by whoever shows the results
        self._engine = Engine(
            fixed or Fixed(), self._network_loaded, lambda text: listener.say(text, "error"), self._device_replaced
        )

    # Opening and closing

    def open(self, spec: str, options: SourceOptions | None = None) -> None:
        """Open a source in place of the present one, and play it."""
        opening = _Opening(spec, replace(options or self._options, loop=False), redact(spec))
        with self._lock:
            self._leave()
            self._opening = opening
            self._source, self._failed, self._position = Known(name=opening.name, spec=spec), False, 0.0
            self._openers = [t for t in self._openers if t.is_alive()]
            thread = threading.Thread(target=self._open, args=(opening,), name="segstream-opener", daemon=True)
            self._openers.append(thread)
        thread.start()

    def close_source(self) -> None:
        """Leave the present source for none."""
        self.stop_recording()
        with self._lock:
            self._leave()
            self._source, self._failed, self._position = Known(), False, 0.0

    def _leave(self) -> None:
        """Leave the present source; its threads end by themselves. Holds the lock."""
        if self._opening is not None:
            self._opening.abandoned = True
        if self._playing is not None:
            self._playing.leave()
            self._ending.append(self._playing.pipeline)
        self._ending = [pipeline for pipeline in self._ending if pipeline.running]
        self._opening, self._playing = None, None

    def _open(self, opening: _Opening) -> None:
        try:
            source = open_source(opening.spec, opening.options)
        except SegstreamError as error:
            self._open_failed(opening, str(error))
            return
        except Exception as error:  # the window must say it and live on
            self._open_failed(opening, f"{opening.name} could not be opened ({type(error).__name__}: {error}).")
            return
        info, seat, tape = source.info, self._engine.seat(), Tape(source)
        pipeline = Pipeline(
            Lane(source, [tape]),
            seat,
            on_result=lambda result, _picture, _lane: self._deliver(seat, result),
            speed=self._settings.speed,
            queue_size=1,  # few frames on their way, so that a pause is one
            keep_open=not info.is_live,
        )
        tape.paused = lambda: pipeline.paused
        with self._lock:
            if opening.abandoned:
                source.close()
                return
            self._source = Known(
                name=info.name,
                spec=opening.spec,
                live=info.is_live,
                seekable=info.seekable,
                size=(info.width, info.height),
                pixel_aspect=float(info.pixel_aspect),
                duration=info.duration,
                fps=float(info.rate) if info.rate else None,
            )
            self._opening, self._playing = None, _Playing(pipeline, seat, source, tape)
            pipeline.start()

    def _open_failed(self, opening: _Opening, sentence: str) -> None:
        with self._lock:
            if opening.abandoned:
                return
            self._opening, self._failed = None, True
        self._listener.say(sentence, "error")

    def _deliver(self, seat: Seat, result: Result) -> None:
        """A result, in the pipeline's thread."""
        if seat.left:
            return
        self._position = result.pts_seconds or 0.0
        self._listener.put_result(result)

    def _network_loaded(self, network: Network) -> None:
        self._listener.put_playback({"network": network})
        self.refresh()

    def _device_replaced(self, problem: str) -> None:
        self._listener.put_settings({"device": "auto"})
        reason = problem.partition(";")[0]  # what to do about it is done
        # An error stays until it is closed, so that it is seen whenever the network is loaded.
        self._listener.say(f"Automatic takes the place of the device of the last time ({reason}).", "error")

    def close(self) -> bool:
        """End every thread; true when all ended within two seconds."""
        deadline = time.monotonic() + _JOIN_SECONDS
        self.stop_recording()
        with self._lock:
            self._leave()
            ending, openers = self._ending, self._openers
        good = self._engine.close()
        for pipeline in ending:
            good &= pipeline.join(max(0.0, deadline - time.monotonic()))
        for thread in openers:
            thread.join(max(0.0, deadline - time.monotonic()))
            good &= not thread.is_alive()
        for recorder in self._finishing:
            good &= recorder.join(max(0.1, deadline - time.monotonic()))
        give_back()
        return good

    # The buttons

    def toggle(self) -> None:
        """Play or pause; at the end, play from the start."""
        playing = self._playing
        if playing is None:
            return
        if (playing.pipeline.ended or playing.at_end) and self._source.seekable:
            playing.pipeline.resume()
            playing.seek(self._options.start)
        elif playing.pipeline.paused:
            playing.pipeline.resume()
        else:
            playing.pipeline.pause()
            playing.tape.cut()

    def step(self, direction: int) -> None:
        """Pause and show the next (1) or the last (-1) frame."""
        playing = self._playing
        if playing is None or (direction > 0 and playing.pipeline.ended):
            return
        playing.step(direction)

    def seek(self, seconds: float) -> None:
        """Go to a second of the file; the newest wish wins."""
        playing = self._playing
        if playing is None or not self._source.seekable:
            return
        if self._source.duration:
            seconds = min(seconds, self._source.duration)
        self._sought = (max(0.0, seconds), time.monotonic())
        playing.seek(self._sought[0])

    def jump(self, seconds: float) -> None:
        """Go on or back by seconds; presses in quick succession add up."""
        target, at = self._sought
        start = target if time.monotonic() - at < _PRESSES_SECONDS else self._position
        self.seek(start + seconds)

    def refresh(self) -> None:
        """Segment the frame that is shown again, where playback stands still."""
        playing = self._playing
        if playing is None or not self._source.seekable:
            return
        if playing.pipeline.paused or playing.pipeline.ended:
            at_end = playing.pipeline.ended or playing.at_end
            playing.pipeline.pause()
            playing.seek(self._position)
            playing.at_end = at_end

    def configure(self, settings: Settings) -> None:
        """Take over settings; they act on the next frame, and at once where playback stands still."""
        before, self._settings = self._settings, settings
        self._engine.configure(settings)
        playing = self._playing
        if playing is None:
            return
        if (recorder := playing.tape.recorder) is not None:
            recorder.look = settings
        if settings.speed != before.speed:
            playing.pipeline.set_speed(settings.speed)
        if any(getattr(settings, name) != getattr(before, name) for name in _NETWORK_SETTINGS):
            self.refresh()

    # Recording

    def record(self, path: str) -> None:
        """Record what is shown from the next frame on, with its sound."""
        playing = self._playing
        if playing is not None and playing.tape.recorder is None:
            playing.tape.record(path, self._settings, self._listener.say)

    def stop_recording(self) -> None:
        """Finish the recording; the file is complete when the listener hears so."""
        playing = self._playing
        recorder = playing.tape.stop() if playing is not None else None
        if recorder is not None:
            self._finishing = [r for r in self._finishing if not r.join(0)] + [recorder]

    # What to show

    def poll(self) -> dict[str, Any]:
        """Changes of `segstream.ui.state.Playback` by name."""
        with self._lock:
            playing, opening, source = self._playing, self._opening, self._source
        recorder = playing.tape.recorder if playing is not None else None
        shown: dict[str, Any] = {
            "source": source,
            "busy": self._engine.busy,
            "allowed": self._engine.budget(),
            "recording": str(recorder.path) if recorder is not None else "",
            "latency_ms": self.latency_ms if source.live else 0.0,
        }
        if opening is not None:
            return {**shown, "status": OPENING, "position": 0.0, "connection": ""}
        if playing is None:
            return {**shown, "status": FAILED if self._failed else EMPTY}
        return {**shown, **self._poll_pipeline(playing)}

    def _poll_pipeline(self, playing: _Playing) -> dict[str, Any]:
        pipeline, lane = playing.pipeline, playing.pipeline.stats().lanes[0]
        ended = playing.pipeline.ended or not pipeline.running
        error = pipeline.error
        if error is not None:
            self._say_once(playing, str(error), "error")
        elif ended:
            self._say_once(playing, playing.source.warnings.summary() or "", "note")
            # Where nothing came since the last time, the files may be gone, and nothing will come the next time either.
            if self._settings.loop and self._source.seekable and not pipeline.paused and lane.frames > playing.looped:
                playing.looped = lane.frames
                playing.seek(self._options.start)
        if ended:
            status = FAILED if error is not None else ENDED
        else:
            status = PAUSED if pipeline.paused else PLAYING
        detail = playing.source.warnings.messages[-1] if playing.source.warnings.messages else ""
        return {"status": status, "connection": lane.state, "detail": detail, "dropped": lane.dropped}

    def _say_once(self, playing: _Playing, text: str, kind: str) -> None:
        if text and text != playing.said:
            playing.said = text
            self._listener.say(text, kind)
