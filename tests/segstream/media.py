"""Real videos for the tests, written and read back with PyAV itself, and a segmenter without a network."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from segstream.frames import Frame, Result

PALETTE = np.array([[128, 64, 128], [70, 130, 180], [0, 0, 142], [107, 142, 35]], np.uint8)


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python ignores the signal
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Quick:
    """Answers like a `Segmenter` at once, for tests of what is around the network. Classes follow the brightness."""

    def __init__(self, milliseconds: float = 0.0) -> None:
        self.milliseconds = milliseconds
        self.budget = 1.0
        self.calls = 0

    def __call__(self, frame: Frame, previous: object = None) -> Result:
        self.calls += 1
        if self.milliseconds:
            time.sleep(self.milliseconds / 1e3)
        height, width = frame.image.shape[:2]
        labels = np.ascontiguousarray(frame.image[:, :, 0] >> 6)
        blocks = np.zeros((2, 3), bool)
        blocks[0, frame.index % 3] = True
        return Result(
            frame=frame,
            labels=labels,
            blocks=blocks,
            block_px=(height / 2, width / 3),
            classes=("road", "sky", "car", "tree"),
            palette=PALETTE,
            high_share=1 / 6,
            gmacs=0.5,
            dense_gmacs=2.0,
            timings={"network": self.milliseconds},
        )


def picture(index: int, width: int, height: int) -> NDArray[np.uint8]:
    """A gradient with a bar that moves by the index: uint8 [H, W, 3]. Its left half is darker than its right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0] = np.linspace(30, 220, width, dtype=np.uint8)
    image[:, :, 1] = np.linspace(30, 220, height, dtype=np.uint8)[:, None]
    left = index * 4 % max(1, width - 8)
    image[:, left : left + 8, 2] = 255
    return image


def write_video(
    path: Path | str,
    frames: int = 12,
    size: tuple[int, int] = (96, 64),
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12_800),
    rate: int = 25,
    rotation: int = 0,
    audio: str | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """Write a small video; `pts` in units of `time_base`, by default regular at `rate`."""
    with av.open(f"file:{path}", "w", format=format, container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], pix_fmt
        stream.codec_context.time_base = time_base
        stream.codec_context.thread_count = 1
        stream.options = options if options is not None else ({"preset": "ultrafast"} if codec == "libx264" else {})
        if rotation:
            stream.set_display_rotation(rotation)
        sound = None
        if audio:
            sound = container.add_stream(audio, rate=48_000)
            sound.codec_context.layout = "mono"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, *size)).reformat(format=pix_fmt)
            step = 1 / (rate * time_base)
            frame.pts = pts[index] if pts is not None else round(index * step)
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            samples = frames * 48_000 // rate
            tone = (np.sin(np.arange(samples) * 2 * np.pi * 440 / 48_000) * 9000).astype(np.int16)
            whole = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            whole.sample_rate, whole.pts, whole.time_base = 48_000, 0, Fraction(1, 48_000)
            resampler = av.AudioResampler(
                format=sound.codec_context.format, layout="mono", rate=48_000, frame_size=sound.frame_size or 1024
            )
            for part in (*resampler.resample(whole), *resampler.resample(None)):
                container.mux(sound.encode(part))
            container.mux(sound.encode(None))
    return Path(path)


@dataclass
class Contents:
    """What a plain reader finds in a file."""

    times: list[Fraction]
    images: list[NDArray[np.uint8]]
    audio: list[tuple[Fraction, int]]
    codec: str
    audio_codec: str | None
    size: tuple[int, int]
    errors: int = 0


def read_video(path: Path | str, images: bool = False) -> Contents:
    """Read with PyAV alone, packet by packet, one thread; errors are counted and stepped over."""
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        found = Contents(
            [], [], [], stream.codec_context.name, None, (stream.codec_context.width, stream.codec_context.height)
        )
        if container.streams.audio:
            found.audio_codec = container.streams.audio[0].codec_context.name
        packets = container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.error.FFmpegError:
                found.errors += 1
                _keep(found, _decoded(found, stream, None), images, stream.time_base)
                break
            if packet.stream.type == "audio":
                if packet.size and packet.pts is not None:
                    found.audio.append((packet.pts * packet.time_base, packet.size))
            elif packet.stream.index == stream.index:
                frames = _decoded(found, stream, packet if packet.size else None)
                _keep(found, frames, images, stream.time_base)
    return found


def _decoded(found: Contents, stream: av.VideoStream, packet: av.Packet | None) -> list[av.VideoFrame]:
    try:
        return stream.decode(packet)
    except av.error.EOFError:
        return []
    except av.error.FFmpegError:
        found.errors += 1
        return []


def _keep(found: Contents, frames: list[av.VideoFrame], images: bool, time_base: Fraction) -> None:
    for frame in frames:
        found.times.append(Fraction(0) if frame.pts is None else frame.pts * (frame.time_base or time_base))
        if images:
            found.images.append(frame.to_ndarray(format="rgb24"))
