"""Video files: every frame, in order, with its timestamp; positioned to the frame."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from segstream.errors import SourceError
from segstream.frames import Frame
from segstream.sources.audio import AudioTap, audio_tap
from segstream.sources.base import (
    Source,
    SourceInfo,
    SourceOptions,
    SourceWarnings,
    check_size,
    ends_before_start,
)
from segstream.sources.convert import to_rgb, upright_shape
from segstream.sources.decode import decode, decoder_log, limit_allocation, shut
from segstream.sources.hardware import choose_hwaccel
from segstream.sources.limit import FrameLimit

_TIMESTAMPS_ARE_ARBITRARY = 0x0200  # AVFMT_TS_DISCONT: a transport stream starts anywhere, so it is counted from there
_MAX_DECODER_THREADS = 4
_ROUNDING = 0.001  # seconds
_AHEAD, _AHEAD_BYTES = 2.5, 256 << 20  # seconds of pictures, and memory for them, that are read ahead of the sound
# Decoding several frames at once costs the frames in flight when a file is cut off (PyAV stops emptying the decoder at
# the first error), so it is used only where one thread may be too slow.
_FRAME_THREADS_ABOVE = 1920 * 1088


def open_container(
    url: str,
    name: str,
    *,
    format: str | None = None,
    options: dict[str, str] | None = None,
    timeout: tuple[float, float] | None = None,
    hwaccel: HWAccel | None = None,
) -> tuple[InputContainer, VideoStream]:
    """Open what FFmpeg can open and find its pictures.

    Raises:
        SourceError: it cannot be opened, has no pictures, or pictures of a size that is not read.
    """
    try:
        container = av.open(url, format=format, options=options or {}, timeout=timeout, hwaccel=hwaccel)
    except (OSError, ValueError, av.error.FFmpegError) as error:
        # The text of FFmpeg's error holds the URL with its password, so it is not carried along.
        raise SourceError(_why_not(name, error)) from (None if "://" in url else error)
    try:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise SourceError(f"{name} has no pictures, only other streams; give a video")
        if stream.codec_context is None:
            raise SourceError(f"{name} is of a codec that is not known here; convert it to H.264 first")
        check_size(stream.codec_context.width, stream.codec_context.height, name)
        limit_allocation(stream)
        stream.codec_context.thread_count = min(_MAX_DECODER_THREADS, os.cpu_count() or 1)
    except BaseException:
        shut(container)
        raise
    return container, stream


def _why_not(name: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{name} does not exist; check the path"
    if isinstance(error, (av.error.InvalidDataError, av.error.EOFError)):
        return f"{name} is not a video that can be read (empty, cut off or of another kind); check the file"
    if isinstance(error, PermissionError):
        return f"{name} may not be read; check its permissions"
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"{name} cannot be opened ({reason}); check that it is there and is a video"


class FileSource(Source):
    """A video file.

    Frames carry the file's own `pts` and `time_base`; `pts_seconds` counts from the start of the file.
    """

    def __init__(
        self,
        url: str,
        name: str,
        options: SourceOptions,
        *,
        kind: str = "file",
        format: str | None = None,
        container_options: dict[str, str] | None = None,
    ) -> None:
        super().__init__(options)
        self._url, self._name, self._format = url, name, format
        self._container_options = container_options
        self._lock = threading.Lock()  # close() may come from another thread while a frame is being decoded
        self._closed = self._released = False
        self._container: InputContainer | None = None
        self._tap: AudioTap | None = None
        self._tap_wanted = False
        self._last_seconds: float | None = None
        self._silent_after: float | None = None  # no sound came for a while after the packet of this time
        self._again = False  # in a loop: start again at the end, since there was a frame to show
        self._pending: deque[VideoFrame] = deque()
        self._limit = FrameLimit(options.max_frames, options.start, options.loop)
        self._log_names: tuple[str, ...] = ()
        decoder_log.acquire()
        try:
            hwaccel = choose_hwaccel(options.hwaccel, self._trial, self.warnings)
            self._container, self._stream = self._open(hwaccel)
            self._time_base = self._stream.time_base or Fraction(1, 1000)
            # By how much a frame may come before what was asked for: what rounding does, not half a frame.
            self._slack = min(float(self._time_base) / 2, _ROUNDING) + 1e-6
            self._start = _start_seconds(self._container)
            self._log_names = (self._stream.codec_context.name, self._container.format.name)
            self._tap = audio_tap(self._container)
            self._raw = self._decode()
            first = next(self._raw, None)
            if first is None:
                raise SourceError(f"{name} holds no picture that can be decoded; check the file")
            self._pending.append(first)
            self.info = self._describe(first, kind, hwaccel is not None)
            self._step = float(1 / self.info.rate) if self.info.rate else 0.04
            room = _AHEAD_BYTES // (self.info.width * self.info.height * 2)
            self._ahead = min(round(_AHEAD / self._step), room)
            if options.loop and not self.info.seekable:
                raise SourceError(f"{name} cannot be positioned, and so not played again; leave out loop")
            if options.start > 0 and self.info.seekable:
                self._position(options.start, before=False)
                if not self._pending:
                    raise SourceError(f"{name} cannot be positioned where it comes from; leave out --start")
                self._refuse_late_start()
            elif options.start > 0:
                self._read_on_to(options.start)
                self._refuse_late_start()
        except BaseException:
            self.close()
            raise

    def _refuse_late_start(self) -> None:
        """A file that ends before `--start` has nothing to give, though seeking leaves its last frame."""
        end, start = self._last_seconds, self.options.start
        if end is not None and end < start - self._slack:
            raise ends_before_start(self._name, end, start)

    def _open(self, hwaccel: HWAccel | None) -> tuple[InputContainer, VideoStream]:
        container, stream = open_container(
            self._url,
            self._name,
            format=self._format,
            options=self._container_options,
            timeout=(self.options.open_timeout, self.options.read_timeout) if "://" in self._url else None,
            hwaccel=hwaccel,
        )
        context = stream.codec_context
        if hwaccel is None and context.width * context.height > _FRAME_THREADS_ABOVE:
            stream.thread_type = "AUTO"
        return container, stream

    def _trial(self, hwaccel: HWAccel) -> bool:
        """Decode one frame in hardware."""
        container, stream = self._open(hwaccel)
        try:
            frame = next(iter(decode(container, stream, SourceWarnings())))
            to_rgb(frame, self._name)
            return bool(stream.codec_context.is_hwaccel)
        finally:
            shut(container)

    def _opened(self) -> InputContainer:
        if self._container is None:
            raise SourceError(f"{self._name} is closed")
        return self._container

    def _describe(self, first: VideoFrame, kind: str, hardware: bool) -> SourceInfo:
        container, stream = self._opened(), self._stream
        width, height, pixel_aspect = upright_shape(first, stream)
        duration = _duration(container, stream)
        rate = stream.average_rate or stream.guessed_rate
        rate = rate if rate and 0 < rate <= 1000 else None
        frames = stream.frames or (round(duration * rate) if duration and rate else None)
        return SourceInfo(
            name=self._name,
            kind=kind,
            width=width,
            height=height,
            rate=rate,
            frames=frames,
            duration=duration,
            start_seconds=self._start,
            has_audio=self._tap is not None,
            rotation=first.rotation,
            pixel_aspect=pixel_aspect,
            codec=stream.codec_context.name,
            decoder="cuda" if hardware else "software",
            # A graph of filters makes its frames in order, a raw stream of no timestamps cannot be searched, and what
            # has come through a pipe does not come again.
            seekable=kind != "lavfi" and first.pts is not None and not _is_pipe(self._url),
        )

    def _decode(self) -> Iterator[VideoFrame]:
        """Frames up to the end or to damage that stops the demuxer, which is a warning and not an error."""
        try:
            yield from decode(self._opened(), self._stream, self.warnings, self._keep_audio)
        except av.error.FFmpegError as error:
            self.warnings.add(f"{self._name} ends early: {error.strerror}", errors=1)

    def _keep_audio(self, packet: Packet) -> None:
        if self._tap is not None:
            self._tap.put(packet, -self._start)

    def tap_audio(self) -> AudioTap | None:
        self._tap_wanted = True
        return self._tap

    def _seconds(self, frame: VideoFrame) -> float:
        if frame.pts is not None:
            return float(frame.pts * (frame.time_base or self._time_base)) - self._start
        return 0.0 if self._last_seconds is None else self._last_seconds + self._step

    def __next__(self) -> Frame:
        with self._lock:
            if self._tap is not None and not self._tap_wanted:
                self._tap = None  # nobody listens
            complete = False
            while not self._closed and not self._limit.reached:
                raw = self._pending.popleft() if self._pending else next(self._raw, None)
                if raw is None or self._is_past_end(raw):
                    if not self.options.loop or not self._again:
                        complete = raw is None
                        break
                    self._start_again()
                    continue
                seconds = self._seconds(raw)
                if self._tap is not None:
                    self._read_ahead(self._tap, seconds)
                frame = self._finish(raw, seconds)
                if frame is not None:
                    return frame
            if self._closed:
                self._release()
            else:
                self._end(complete)
        raise StopIteration

    def _is_past_end(self, raw: VideoFrame) -> bool:
        return self.options.end is not None and self._seconds(raw) >= self.options.end

    def _read_ahead(self, tap: AudioTap, seconds: float) -> None:
        """Read on until the sound of a picture has come, so that a file which ends with that picture has it.

        Files store it up to a second or so behind. Where it does not come within `_AHEAD`, it has ended or not begun
        yet, and nothing is read ahead until the next sound comes.
        """
        while tap.newest < seconds + self._step and tap.newest != self._silent_after:
            if len(self._pending) >= self._ahead:
                self._silent_after = tap.newest
            elif raw := next(self._raw, None):
                self._pending.append(raw)
            else:
                return

    def _finish(self, raw: VideoFrame, seconds: float) -> Frame | None:
        captured_at = time.monotonic()
        corrupt, message = decoder_log.take(self._log_names)
        if corrupt:
            self.warnings.add(message, corrupt=corrupt)
        try:
            image = to_rgb(raw, self._name)
        except (av.error.FFmpegError, ValueError) as error:
            self.warnings.add(str(error), errors=1)
            return None
        self._last_seconds = seconds
        self._again = True
        self._limit.count(seconds)
        index, self._delivered = self._delivered, self._delivered + 1
        time_base = raw.time_base or self._time_base
        return Frame(image, index, raw.pts, time_base, seconds, captured_at, 0, self._name)

    def _start_again(self) -> None:
        if self._tap is not None:
            self._tap.cut((self._last_seconds or 0.0) + self._step)
        self._last_seconds = None
        self._again = False
        self._position(self.options.start, before=False, keep_audio=True)

    def seek(self, seconds: float, before: bool = False) -> None:
        with self._lock:
            if not self._closed:
                self._position(max(0.0, seconds), before)
                self._stay_within_limit()
                self._again = True
                self.state = "connected"

    def _stay_within_limit(self) -> None:
        if self._pending:
            rate = float(self.info.rate) if self.info.rate else None
            last = self._limit.seek(self._seconds(self._pending[0]), rate)
            if last is not None:
                self._position(last, before=False)

    def _read_on_to(self, seconds: float) -> None:
        """Leave out what comes before, of a source that cannot be positioned."""
        while raw := self._pending.popleft() if self._pending else next(self._raw, None):
            self._last_seconds = self._seconds(raw)
            if self._last_seconds >= seconds - self._slack:
                self._pending.append(raw)
                return

    def _position(self, seconds: float, before: bool, keep_audio: bool = False) -> None:
        """Decode up to the wanted frame from a key frame before it, from further back where the index is wrong."""
        self._pending.clear()
        for back in (0.0, 2.0, 10.0, None):
            start = 0.0 if back is None else max(0.0, seconds - back)
            if self._tap is not None:
                self._tap.hold()  # an attempt that fails must leave none
                if not keep_audio:
                    self._tap.clear()
            try:
                self._opened().seek(int((start + self._start) / self._time_base), stream=self._stream, backward=True)
            except av.error.FFmpegError as error:
                if back is None:
                    raise SourceError(f"{self._name} cannot be positioned ({error.strerror})") from error
                continue
            self._raw = self._decode()
            self._last_seconds = None
            held: VideoFrame | None = None
            for raw in self._raw:
                at = self._seconds(raw)
                self._last_seconds = at
                if at >= seconds - self._slack:
                    break
                held = raw
            else:
                raw = None
            early_enough = held is not None or (not before and raw is not None and at <= seconds + self._slack)
            if early_enough or start == 0.0:
                wanted = (held, raw) if before or raw is None else (raw,)
                self._pending.extend(frame for frame in wanted if frame is not None)
                if self._tap is not None:
                    self._tap.release(seconds if keep_audio else float("-inf"))
                return

    def _end(self, complete: bool) -> None:
        corrupt, message = decoder_log.take(self._log_names)
        if corrupt:
            self.warnings.add(message, corrupt=corrupt)
        if self._tap is not None:
            self._tap.complete = complete
        self.state = "ended"

    def close(self) -> None:
        """Close; a read that is blocked in a network share or a web server is left to end by itself."""
        self._closed = True
        if self._lock.acquire(timeout=1.0):
            try:
                self._release()
            finally:
                self._lock.release()

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self.state = "closed"
            self._pending.clear()
            shut(self._container)
            decoder_log.take(self._log_names)  # not to be heard by the next source of this codec
            decoder_log.release()


def _is_pipe(url: str) -> bool:
    """Whether a file is one that cannot be read again: a pipe, a terminal."""
    try:
        mode = os.stat(url.removeprefix("file:")).st_mode
    except (OSError, ValueError):
        return False  # a URL
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def _start_seconds(container: InputContainer) -> float:
    if int(container.format.flags) & _TIMESTAMPS_ARE_ARBITRARY and container.start_time:
        return container.start_time / av.time_base
    return 0.0


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None
