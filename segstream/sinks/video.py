"""The annotated video: the source's timestamps and sound, playable at every moment while it grows."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from segstream.errors import OutputError, UsageError
from segstream.frames import Frame, Result
from segstream.sinks.audio import AudioWriter
from segstream.sinks.base import OutputFile, Sink, output_error
from segstream.sinks.encoders import CONTAINERS, Encoder, choose_encoder, configure
from segstream.sinks.parts import PART_COMMENT, part_name, parts_there, recorded_parts, remove_oldest
from segstream.sinks.soundtrack import Soundtrack
from segstream.sinks.tail import trim_tail
from segstream.sinks.timeline import Timeline, file_time_base
from segstream.sources.audio import AudioTap
from segstream.sources.base import Source

# A fragment this long (in microseconds) goes to the disk at once, so a crash loses little, even with a slow network.
_FRAGMENT = 100_000
_MUXER_OPTIONS = {
    # Playable as it grows and, once closed, an ordinary MP4.
    "mp4": {"movflags": "hybrid_fragmented+frag_keyframe", "frag_duration": str(_FRAGMENT)},
    "matroska": {"cluster_time_limit": str(_FRAGMENT // 1000)},
}
# Without going back to its beginning at the end, which a pipe does not do.
_MP4_INTO_PIPES = "frag_keyframe+empty_moov+delay_moov+default_base_moof"
_MUXER_OPTIONS["mov"] = _MUXER_OPTIONS["mp4"]
_MUXER_OPTIONS["webm"] = _MUXER_OPTIONS["matroska"]
# Sound may begin before zero (priming); that must not move the pictures.
_EVERY_MUXER = {"flush_packets": "1", "max_interleave_delta": "500000", "avoid_negative_ts": "disabled"}


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How a video is written.

    Attributes:
        codec: "auto", "h264", "hevc", "vp9", "av1", "ffv1", or the name of an encoder.
        crf: quality, smaller is better; None for a good default.
        audio: "copy" (transcoded where the container does not take it), "transcode" or "none".
        overwrite: an existing file may be replaced, once the new one is complete.
        on_resize: when the source changes its size: "letterbox" into the first one, or "split" into a new file.
        segment_seconds: start a new file after this many seconds (`name-000.mp4`, `name-001.mp4`, ...). Where such
            files are there already and may not be overwritten, the numbers go on after the highest.
        keep_bytes: remove the oldest segments when all together are larger than this, those of earlier recordings under
            this name included. They are known by a comment in the file; others stay, and those that another recorder
            writes meanwhile.
    """

    codec: str = "auto"
    crf: int | None = None
    audio: str = "copy"
    overwrite: bool = False
    on_resize: str = "letterbox"
    segment_seconds: float | None = None
    keep_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("audio", ("copy", "transcode", "none")), ("on_resize", ("letterbox", "split"))):
            if getattr(self, name) not in allowed:
                raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if self.segment_seconds is not None and not self.segment_seconds > 0:
            raise UsageError(f"segment_seconds must be greater than 0, not {self.segment_seconds}")
        if self.keep_bytes is not None and self.segment_seconds is None:
            raise UsageError("keep_bytes (--keep-mb) removes old segments, so it needs segment_seconds (--segment)")


class VideoSink(Sink):
    """Writes the drawn pictures into one video, or into segments.

    Args:
        path: .mp4, .m4v, .mov, .mkv or .webm.
        source: whose sound, frame rate and start the file takes over; None for pictures alone. Create the sink before
            the first frame is read, so that no sound is missed.
        options: see `VideoOptions`.

    Raises:
        OutputError: the file exists or cannot be made.
        UsageError: a codec or suffix that does not exist.
    """

    needs_picture = True

    def __init__(
        self, path: str | os.PathLike[str], source: Source | None = None, options: VideoOptions | None = None
    ) -> None:
        super().__init__()
        self.options = options or VideoOptions()
        self.path = Path(path)
        self.outputs: list[Path] = []
        self._source = source
        self._suffix = self.path.suffix.lower()
        self._segment = 0  # files finished
        self._number = 0  # of the file, in its name
        self._file: _VideoFile | None = None
        self._encoder: Encoder | None = None
        self._tried = (0, 0)
        self._timeline: Timeline | None = None
        self._tap: AudioTap | None = None
        self._sound: Soundtrack | None = None
        if source is not None and self.options.audio != "none":
            self._tap = source.tap_audio()
            if self._tap is None and source.info.kind in ("file", "network"):
                self.notes.append("the source has no sound")
        # The encoder and the target are tried now, so that a mistake shows before any work is done.
        width, height = (source.info.width, source.info.height) if source else (64, 64)
        self._choose(width, height)
        self._earlier = {} if self.options.keep_bytes is None else recorded_parts(self.path)
        if self.options.segment_seconds is not None:
            self._go_on_from(0)
        self._target: OutputFile | None = OutputFile(self._name(), self.options.overwrite)

    def _choose(self, width: int, height: int) -> Encoder:
        even = (width + 1) // 2 * 2, (height + 1) // 2 * 2
        if self._encoder is not None and even == self._tried:
            return self._encoder
        self._tried = even
        notes: list[str] = []
        self._encoder = choose_encoder(self.options.codec, self._suffix, *even, self.options.crf, notes)
        self.notes.extend(note for note in notes if note not in self.notes)
        return self._encoder

    def _name(self) -> Path:
        if self.options.segment_seconds is None and self._segment == 0:
            return self.path
        return part_name(self.path, self._number)

    def _go_on_from(self, number: int) -> None:
        """Number the next part so, or after the highest that is there and must stay: another recording's, perhaps."""
        there = {} if self.options.overwrite else parts_there(self.path)
        highest = max(there, default=-1)
        self._number = max(number, highest + 1)
        if self._number > number:
            self.notes.append(f"{there[highest].name} is there already, so {self._name().name} is the next")

    def write(self, result: Result, picture: NDArray[np.uint8] | None) -> None:
        if picture is None:
            raise OutputError("the video sink was given no picture; draw the results")
        try:
            if self._timeline is None:
                rate = self._source.info.rate if self._source else None
                self._timeline = Timeline(file_time_base(result.frame), rate)
                if self._tap is not None:
                    self._sound = Soundtrack(self._tap, float(self._timeline.step * self._timeline.time_base))
            ticks = self._place(self._timeline, result.frame)
            if self._file is not None and self._is_full(self._file, ticks, picture):
                self._finish_file()
            if self._file is None:
                self._file = self._open_file(self._timeline, ticks, picture)
            self._file.write(ticks, picture)
        except (OSError, av.error.FFmpegError) as error:
            if isinstance(error, OutputError):
                raise
            raise output_error(self._name(), error) from error

    def _place(self, timeline: Timeline, frame: Frame) -> int:
        """The frame's tick; the sound is told if the source's times have jumped there."""
        shift = timeline.shift
        ticks = timeline.ticks(frame)
        if timeline.shift != shift and self._sound is not None and self._source is not None:
            at = float(ticks * timeline.time_base) - self._source.info.start_seconds
            self._sound.pictures_jumped(at, float(timeline.shift * timeline.time_base), back=timeline.shift > shift)
        return ticks

    def _is_full(self, file: _VideoFile, ticks: int, picture: NDArray[np.uint8]) -> bool:
        if self.options.on_resize == "split" and picture.shape[:2] != file.size:
            return True
        limit = self.options.segment_seconds
        return limit is not None and file.seconds(ticks) >= limit

    def _open_file(self, timeline: Timeline, ticks: int, picture: NDArray[np.uint8]) -> _VideoFile:
        if self._target is None:
            self._go_on_from(self._number + 1)
            self._target = OutputFile(self._name(), self.options.overwrite)
        target = self._target
        height, width = picture.shape[:2]
        encoder = self._choose(width, height)
        source_start = self._source.info.start_seconds if self._source else 0.0
        # A whole recording keeps its times; a part of one, as all of a live source is, or a later segment starts at 0.
        is_part = self._segment > 0 or (
            self._source is not None and (self._source.options.start > 0 or self._source.info.is_live)
        )
        origin = ticks if is_part else min(ticks, round(source_start / timeline.time_base))
        rate = (self._source.info.rate if self._source else None) or Fraction(25)
        file = _VideoFile(target, encoder, CONTAINERS[self._suffix][0], picture, timeline, rate, origin)
        if self.options.segment_seconds is not None:
            file.set_comment(PART_COMMENT)
        try:
            self._shape_pixels(file)
            if self._sound is not None:
                file.add_audio(self._sound, self.options.audio, source_start, self.notes)
            file.start()
        except BaseException:
            file.abort()
            raise
        self.outputs.append(target.path)
        return file

    def _shape_pixels(self, file: _VideoFile) -> None:
        """Hand on the shape of the source's pixels; of pictures of another size nobody knows it."""
        info = self._source.info if self._source else None
        if info is None or info.pixel_aspect == 1 or file.size != (info.height, info.width):
            return
        if not file.set_pixel_aspect(info.pixel_aspect):
            wide, high = info.pixel_aspect.as_integer_ratio()
            note = f"{self._suffix} with {file.codec} cannot say that pixels are {wide}:{high}, so it plays distorted; "
            note += "use .mp4 or h264"
            if note not in self.notes:
                self.notes.append(note)

    def _finish_file(self, last: bool = False) -> None:
        file, self._file, self._target = self._file, None, None
        if file is None:
            return
        try:
            file.close(last)
        except (OSError, av.error.FFmpegError) as error:
            file.trim()
            file.target.leave(self.notes)
            raise error if isinstance(error, OutputError) else output_error(self._name(), error) from error
        finally:
            self._segment += 1
        if self.options.keep_bytes is not None:
            removed, notes = remove_oldest(self.path, self.outputs, self._earlier, self.options.keep_bytes)
            self.outputs = [path for path in self.outputs if path not in removed]
            self.notes.extend(note for note in notes if note not in self.notes)

    def close(self) -> None:
        self._finish_file(last=True)

    def abort(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.abort()
            file.target.leave(self.notes)


class _VideoFile:
    """One open video file. `origin` is the tick of the timeline that becomes time zero."""

    def __init__(
        self,
        target: OutputFile,
        encoder: Encoder,
        format: str,
        picture: NDArray[np.uint8],
        timeline: Timeline,
        rate: Fraction,
        origin: int,
    ) -> None:
        self.target = target
        self.size: tuple[int, int] = picture.shape[:2]
        self._encoder = encoder
        self.codec = encoder.codec
        self._is_mp4 = format in ("mp4", "mov")
        even = encoder.pix_fmt == "yuv420p"
        self._height, self._width = (n + n % 2 if even else n for n in self.size)
        self._time_base, self._step, self._origin = timeline.time_base, timeline.step, origin
        self._last = origin
        self._reformatter = VideoReformatter()
        self._audio: AudioWriter | None = None
        target.claim()
        options = {**_MUXER_OPTIONS[format], **_EVERY_MUXER}
        if self._is_mp4 and not target.working.is_file():
            options["movflags"] = _MP4_INTO_PIPES
        self._container: OutputContainer = av.open(
            f"file:{target.working}", "w", format=format, container_options=options
        )
        stream = cast(VideoStream, self._container.add_stream(encoder.name, rate=rate))
        configure(stream.codec_context, encoder, self._width, self._height, rate)
        stream.codec_context.time_base = self._time_base
        stream.time_base = self._time_base
        self._stream = stream

    def set_comment(self, comment: str) -> None:
        """Say what the file is."""
        self._container.metadata["comment"] = comment

    def set_pixel_aspect(self, aspect: Fraction) -> bool:
        """Say how wide a pixel is for its height. False if neither the container nor the codec can."""
        # PyAV does not let Matroska's own field be set, so there the codec has to carry it.
        if not self._is_mp4 and self.codec not in ("h264", "hevc"):
            return False
        self._stream.codec_context.sample_aspect_ratio = aspect
        return True

    def add_audio(self, sound: Soundtrack, mode: str, source_start: float, notes: list[str]) -> None:
        """Give the file the source's sound, whose times count from `source_start` seconds of the timeline."""
        shift = source_start - float(self._origin * self._time_base)
        self._audio = AudioWriter(self._container, sound, mode, shift, notes)

    def start(self) -> None:
        """Write the header."""
        self._container.start_encoding()

    def seconds(self, ticks: int) -> float:
        """Time in this file."""
        return float((ticks - self._origin) * self._time_base)

    def write(self, ticks: int, picture: NDArray[np.uint8]) -> None:
        # Not copied: the buffer is only read, before this returns.
        frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(self._fit(picture)), format="rgb24")
        matrix = Colorspace.ITU709 if self._height >= 720 else Colorspace.ITU601
        frame = self._reformatter.reformat(
            frame, format=self._encoder.pix_fmt, dst_colorspace=matrix, dst_color_range=1, threads=1
        )
        self._last = ticks
        frame.pts, frame.time_base = ticks - self._origin, self._time_base
        if self._audio is not None:
            self._audio.write(self.seconds(ticks))
        self._mux(frame)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if not packet.duration and packet.time_base:
                packet.duration = round(self._step * self._time_base / packet.time_base)
            self._container.mux_one(packet)

    def _fit(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A picture of the file's size: letterboxed if the source changed its size, padded to even sides."""
        if picture.shape[:2] != self.size:
            picture = letterbox(picture, self.size)
        bottom, right = self._height - picture.shape[0], self._width - picture.shape[1]
        if bottom or right:
            picture = np.pad(picture, ((0, bottom), (0, right), (0, 0)), mode="edge")
        return picture

    def close(self, last: bool) -> None:
        """Write what the encoder holds, the sound up to the end and the index; then take the target's name."""
        try:
            self._mux(None)
            if self._audio is not None:
                self._audio.close(self.seconds(self._last + self._step), last)
        finally:
            self._container.close()
        self.target.commit()

    def abort(self) -> None:
        """Close without replacing anything; what is on the disk stays playable."""
        with contextlib.suppress(OSError, ValueError, av.error.FFmpegError, AttributeError):
            self._mux(None)
        with contextlib.suppress(OSError, ValueError, av.error.FFmpegError):
            self._container.close()
        self.trim()
        self.target.discard_if_empty()

    def trim(self) -> None:
        """Take off what a failed write has left half done."""
        if self._is_mp4 and self.target.working.is_file():
            with contextlib.suppress(OSError):
                trim_tail(self.target.working)


def letterbox(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale a picture into `size` (height, width), keeping its aspect ratio, black around it.

    Args:
        picture: uint8 [H, W, 3].

    Returns:
        uint8 [size[0], size[1], 3].
    """
    height, width = size
    scale = min(height / picture.shape[0], width / picture.shape[1])
    inner = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    scaled = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas[top : top + inner[1], left : left + inner[0]] = scaled
    return canvas
