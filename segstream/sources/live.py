"""Live sources: cameras and streams that go on whether anybody looks or not, fail, and come back.

A thread reads and decodes all the time. With `live="latest"` it keeps the newest frame only, so a slow consumer sees
fewer frames but never old ones. When the connection is lost or stalls it opens a new one, with growing pauses; no frame
stands in for those that were lost.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from segstream.errors import SourceError
from segstream.frames import Frame
from segstream.sources.audio import AudioTap, audio_tap
from segstream.sources.base import Source, SourceInfo, SourceOptions
from segstream.sources.cameras import camera_format, device_name
from segstream.sources.clock import LiveClock
from segstream.sources.convert import to_rgb, upright_shape
from segstream.sources.decode import decode, decoder_log, shut
from segstream.sources.files import FileSource, open_container
from segstream.sources.names import redact

TIME_BASE = Fraction(1, 90_000)
_ALL_WAITING = 8  # frames that live="all" keeps before the sender has to wait
_END_GRACE = 1.0  # seconds that pictures from before the end may take to arrive
_LOOK_AGAIN = 0.1  # seconds between looks at the clock while a consumer waits
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0

Opener = Callable[[], tuple[InputContainer, VideoStream]]


def backoff(attempt: int, jitter: float) -> float:
    """Seconds to wait before attempt number `attempt` (from 0); `jitter` in 0..1 spreads it over +-25 %."""
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempt, 10))
    return pause * (0.75 + 0.5 * jitter)


class _Stalled(Exception):
    pass


class LiveSource(Source):
    """A camera or a stream, read by a thread of its own.

    Attributes:
        on_frame: called (from the reading thread) whenever there is a new frame or the source has ended.
    """

    def __init__(self, opener: Opener, name: str, kind: str, options: SourceOptions) -> None:
        super().__init__(options)
        self.on_frame: Callable[[], None] | None = None
        self._opener, self._name, self._kind = opener, name, kind
        self._waiting: deque[tuple[VideoFrame, float, float]] = deque()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._failure: SourceError | None = None
        self._ended = False
        self._clock = LiveClock()
        self._tap: AudioTap | None = None
        self._tap_wanted: bool | None = None
        self._log_names: tuple[str, ...] = ()
        self._last_frame_at = time.monotonic()
        self._first_seconds: float | None = None  # of the first picture, from which start and end count
        self._newest = (0.0, 0.0)  # time of the last picture, and when it came
        self._begun = options.live == "all"  # the first picture has been asked for
        self._end_at = math.inf  # when the end has come by the wall clock
        self._past_end_at = math.inf  # when the first picture came that lies after the end
        self._sound_over = False  # sound came that lies after the end
        self.state = "connecting"
        if options.hwaccel == "cuda":
            # Trying it out, as files do, takes a connection of its own, and many cameras serve one at a time.
            self.warnings.add("hardware decoding is for files, so software decodes this live source")
        decoder_log.acquire()
        self._thread = threading.Thread(target=self._read, name=f"reader of {name}", daemon=True)
        self._thread.start()
        try:
            self._wait_for_first(options.open_timeout + options.read_timeout + 1)
        except BaseException:
            self.close()
            raise

    def _wait_for_first(self, timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._first_seconds is not None or self._failure or self._ended, timeout)
            if self._failure is not None:
                raise self._failure
            if self._first_seconds is None:
                raise SourceError(f"{self._name} sent no picture within {timeout:.0f} s; check that it is running")

    # --- the reading thread ---

    def _read(self) -> None:
        try:
            self._keep_connected()
        except SourceError as error:
            self._failure = error
        except Exception as error:  # whatever happens here must reach the consumer, who would wait for ever
            self._failure = SourceError(f"{self._name} failed ({type(error).__name__}: {error})")
        finally:
            if self._failure is not None:
                self.state = "lost"
            self._ended = True
            if self._tap is not None:
                self._tap.complete = True
            if self._stop.is_set():
                decoder_log.take(self._log_names)  # not to be heard by the next source of this codec
            decoder_log.release()
            self._notify()

    def _keep_connected(self) -> None:
        attempt = 0
        ever = False
        while not self._stop.is_set():
            reason = "the stream ended"
            frames = 0
            container: InputContainer | None = None
            try:
                container, stream = self._opener()
                for raw in self._frames(container, stream):
                    if frames == 0:
                        self.reconnects += ever
                        attempt, ever = 0, True
                        self.state = "connected"
                        if not hasattr(self, "info"):
                            self._describe(stream, raw)
                    frames += 1
                    if not self._publish(raw):
                        self.state = "ended"
                        return
                    if self._stop.is_set():
                        break
            except SourceError as error:
                if not ever:
                    raise
                reason = str(error)
            except av.error.FFmpegError as error:
                reason = error.strerror or type(error).__name__
            except _Stalled:
                reason = f"no picture for {self.options.read_timeout:g} s"
            finally:
                shut(container)
            if self._stop.is_set():
                return
            if self.options.reconnect == 0 and reason == "the stream ended" and frames:
                self.state = "ended"
                return
            if not ever or attempt >= self.options.reconnect:
                tried = f" after {attempt} attempts to reconnect" if attempt else ""
                raise SourceError(f"{self._name} was lost{tried} ({reason}); check the camera or the network")
            self.warnings.add(f"connection lost: {reason}")
            self.state = "reconnecting"
            self._notify()
            self._stop.wait(backoff(attempt, random.random()))
            attempt += 1

    def _frames(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        self._clock.connect(time.monotonic())
        self._log_names = (stream.codec_context.name, container.format.name)
        self._last_frame_at = time.monotonic()
        self._time_base = stream.time_base or TIME_BASE
        if self._tap is None and self._tap_wanted is not False:
            self._tap = audio_tap(container)
        return decode(container, stream, self.warnings, self._keep_audio, self._watch)

    def _describe(self, stream: VideoStream, first: VideoFrame) -> None:
        width, height, pixel_aspect = upright_shape(first, stream)
        rate = stream.average_rate or stream.guessed_rate
        self.info = SourceInfo(
            name=self._name,
            kind=self._kind,
            width=width,
            height=height,
            rate=rate if rate and 0 < rate <= 1000 else None,
            is_live=True,
            has_audio=self._tap is not None,
            rotation=first.rotation,
            pixel_aspect=pixel_aspect,
            codec=stream.codec_context.name,
        )

    def _watch(self) -> None:
        """Sound, or pictures that cannot be decoded, keep coming though no picture does: that is a stall too."""
        if self._stop.is_set() or time.monotonic() - self._last_frame_at > self.options.read_timeout:
            raise _Stalled

    def _keep_audio(self, packet: Packet) -> None:
        if self._tap is None or self._tap_wanted is False:
            return
        if packet.pts is not None and packet.time_base is not None:
            seconds = float(packet.pts * packet.time_base)
            shift = self._clock.shift_for(seconds, time.monotonic())
            side = self._side(seconds + shift)
            self._sound_over |= side > 0
            if side == 0:
                self._tap.put(packet, shift)

    def _waits_for_sound(self, now: float) -> bool:
        """Whether to read on after the end: streams may carry sound later than the pictures that it belongs to."""
        if self._tap is None or self._tap_wanted is False or self._sound_over:
            return False
        self._past_end_at = min(self._past_end_at, now)
        return now - self._past_end_at < _END_GRACE

    def _side(self, seconds: float) -> int:
        """-1 before the start that was asked for, 1 from the end on, 0 between."""
        if not self._begun:
            return 0
        since = seconds - (self._first_seconds or 0.0) + 1e-6  # sums of floats
        if self.options.end is not None and since >= self.options.end:
            return 1
        return -1 if since < self.options.start else 0

    def _publish(self, raw: VideoFrame) -> bool:
        """Hand a picture to the consumer; False once nothing more is to be read."""
        now = self._last_frame_at = time.monotonic()
        seconds = None if raw.pts is None else float(raw.pts * (raw.time_base or self._time_base))
        item = (raw, self._clock.video(seconds, now), now)
        with self._changed:
            self._newest = item[1], now
            if self._first_seconds is None:
                self._count_from_newest()
                self._changed.notify_all()
            if side := self._side(item[1]):
                return side < 0 or self._waits_for_sound(now)
            if self.options.live == "all":
                self._changed.wait_for(lambda: len(self._waiting) < _ALL_WAITING or self._stop.is_set())
                self._last_frame_at = time.monotonic()  # waiting for our own consumer is no stall of the source
            elif self._waiting:
                self._waiting.clear()
                self.dropped += 1
            self._waiting.append(item)
            self._changed.notify_all()
        if self.on_frame is not None:
            self.on_frame()
        return True

    def _count_from_newest(self) -> None:
        """Count start and end from the last picture that came."""
        self._first_seconds, came = self._newest
        self._end_at = came + self.options.end if self._begun and self.options.end is not None else math.inf

    def _begin(self) -> None:
        """Begin with the newest picture: those before came while a network was loaded, and are not missed."""
        with self._changed:
            if not self._begun:
                self._begun = True
                self._count_from_newest()
                self.dropped = 0
                if self.options.start > 0:
                    self._waiting.clear()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
        if self.on_frame is not None:
            self.on_frame()

    # --- the consumer ---

    def tap_audio(self) -> AudioTap | None:
        self._tap_wanted = True
        return self._tap

    def try_next(self) -> Frame | None:
        """The next frame if there is one now, else None.

        Raises:
            StopIteration: the source has ended.
            SourceError: it was lost for good.
        """
        return self._take(block=False)

    def __next__(self) -> Frame:
        frame = self._take(block=True)
        if frame is None:
            raise StopIteration
        return frame

    def _take(self, block: bool) -> Frame | None:
        if self._tap_wanted is None:
            self._tap_wanted, self._tap = False, None  # nobody listens
        if not self._begun:
            self._begin()
        if self.options.max_frames is not None and self._delivered >= self.options.max_frames:
            self.close()
        while True:
            if block:
                self._wait()
            if self._is_over():
                self.close()
            with self._changed:
                if self._stop.is_set() or (self._ended and not self._waiting and self._failure is None):
                    raise StopIteration
                if not self._waiting:
                    if self._failure is not None:
                        raise self._failure
                    return None
                raw, seconds, captured_at = self._waiting.popleft()
                self._changed.notify_all()
            corrupt, message = decoder_log.take(self._log_names)
            if corrupt:
                self.warnings.add(message, corrupt=corrupt)
            try:
                image = to_rgb(raw, self._name)
            except (av.error.FFmpegError, ValueError) as error:
                self.warnings.add(str(error), errors=1)
                continue
            index, self._delivered = self._delivered, self._delivered + 1
            pts = round(seconds / TIME_BASE)
            return Frame(image, index, pts, TIME_BASE, seconds, captured_at, self.dropped, self._name)

    def _wait(self) -> None:
        """Wait for a picture or the end."""

        def is_ready() -> bool:
            return bool(self._waiting) or self._ended or self._stop.is_set() or self._is_over()

        with self._changed:
            while not self._changed.wait_for(is_ready, None if self.options.end is None else _LOOK_AGAIN):
                pass

    def _is_over(self) -> bool:
        """Whether the end has come by the wall clock alone, because the source hangs or is being reconnected."""
        with self._changed:
            if self._waiting or time.monotonic() < self._end_at:
                return False
            # A new connection starts at the present, and a picture on its way is from before the end only for a while.
            since = max(self._end_at, self._last_frame_at)
            return self.state == "reconnecting" or time.monotonic() - since > _END_GRACE

    def close(self) -> None:
        """Stop. A read that is blocked in the network ends by its own timeout, at most `read_timeout` later."""
        self._stop.set()
        self._notify()
        if self.state != "lost":
            self.state = "closed"
        if threading.current_thread() is not self._thread:
            self._thread.join(0.5)


def open_camera(device: str, options: SourceOptions) -> LiveSource:
    """Open a camera by index or device name, with the size, rate and format asked for.

    Raises:
        SourceError: there is no such camera, or it does not do what was asked.
    """
    format = camera_format()
    device = device_name(device)
    wanted: dict[str, str] = {}
    if options.cam_size:
        wanted["video_size"] = f"{options.cam_size[0]}x{options.cam_size[1]}"
    if options.cam_fps:
        wanted["framerate"] = f"{options.cam_fps:g}"
    if options.cam_format:
        wanted["pixel_format" if format == "avfoundation" else "input_format"] = options.cam_format

    def connect() -> tuple[InputContainer, VideoStream]:
        return open_container(device, f"camera {device}", format=format, options=wanted)

    return LiveSource(connect, f"camera {device}", "camera", options)


def open_lavfi(graph: str, options: SourceOptions) -> LiveSource:
    """Open a drawing filter of FFmpeg that runs in real time, which behaves like a camera."""

    def connect() -> tuple[InputContainer, VideoStream]:
        return open_container(graph, "lavfi", format="lavfi")

    return LiveSource(connect, f"lavfi:{graph}", "lavfi", options)


def open_network(url: str, options: SourceOptions) -> Source:
    """Open a stream. One that has an end (a video on a web server) is read like a file, without drops.

    Raises:
        SourceError: nobody answers, or what answers is no video.
    """
    name = redact(url)
    scheme = url.split("://", 1)[0].lower()
    wanted: dict[str, str] = {}
    timeout = (options.open_timeout, options.read_timeout)
    if scheme in ("rtsp", "rtsps"):
        wanted = {
            "rtsp_transport": options.rtsp_transport,
            "timeout": str(round(options.read_timeout * 1e6)),  # microseconds
            "fflags": "nobuffer",
            # A stream says in its description what it holds: looking at it for long only delays its first picture.
            "analyzeduration": "500000",
            "fpsprobesize": "0",
        }
    elif scheme in ("http", "https"):
        with _opened(url, name, timeout) as container:
            has_end = bool(container.duration)
        if has_end:
            retry = {"reconnect": "1", "reconnect_on_network_error": "1", "reconnect_delay_max": "2"}
            return FileSource(url, name, options, kind="network", container_options=retry)

    def connect() -> tuple[InputContainer, VideoStream]:
        return open_container(url, name, options=wanted, timeout=timeout)

    return LiveSource(connect, name, "network", options)


def _opened(url: str, name: str, timeout: tuple[float, float]) -> closing[InputContainer]:
    container, _ = open_container(url, name, timeout=timeout)
    return closing(container)
