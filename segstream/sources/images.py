"""Images as frames: one file, a folder, a glob, a list. Decoded like video, so every format and depth is alike."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segstream.errors import SourceError
from segstream.frames import Frame
from segstream.sources.base import MAX_PIXELS, Source, SourceInfo, SourceOptions, check_size, ends_before_start
from segstream.sources.convert import to_rgb
from segstream.sources.limit import FrameLimit

_MAX_FILE_BYTES = 1 << 30
_ORIENTATION = 0x0112  # EXIF's tag
# What makes a mirrored image uint8 [H, W, 3] upright, by its orientation; FFmpeg tells of turned ones only.
_MIRRORED: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda image: image[:, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
}


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file.

    Returns:
        uint8 [H, W, 3], RGB, turned upright.

    Raises:
        SourceError: it is not there, not an image, or too large.
    """
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise SourceError(f"{path.name} is larger than 1 GiB, which no image is; check the file")
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}); check the path") from error
    if not data:
        raise SourceError(f"{path.name} is empty; check the file")
    try:
        # From memory FFmpeg looks at the content; by name it would take "%d" in the name for a numbered series.
        with av.open(io.BytesIO(data), "r", options={"max_pixels": str(MAX_PIXELS)}) as container:
            if not container.streams.video:
                raise SourceError(f"{path.name} is not an image; check the file")
            context = container.streams.video[0].codec_context
            if context is None:
                raise SourceError(f"{path.name} is of a kind that is not known here; convert it to PNG first")
            check_size(context.width, context.height, path.name)
            for frame in container.decode(video=0):
                mirror = _MIRRORED.get(_orientation(data))
                image = to_rgb(frame, path.name, turned=mirror is None)
                return image if mirror is None else np.ascontiguousarray(mirror(image))
    except (av.error.FFmpegError, ValueError, OSError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path.name} is not an image that can be read ({error}); check the file") from error
    raise SourceError(f"{path.name} holds no picture; check the file")


def _orientation(data: bytes) -> int:
    """The orientation that a camera has noted in an image file (EXIF), 1 to 8; 1 where there is none."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # of a format or kind that Pillow does not read, or damaged there
        return 1


class ImagesSource(Source):
    """Images in the order given, at `options.image_rate`; one that cannot be read is counted and left out."""

    def __init__(self, paths: list[Path], name: str, options: SourceOptions) -> None:
        super().__init__(options)
        if not paths:
            raise SourceError("the list of images is empty; give at least one")
        self._paths = paths
        self._rate = Fraction(options.image_rate).limit_denominator(1_000_000)
        self._closed = False
        self._limit = FrameLimit(options.max_frames, options.start, options.loop)
        self._pending: tuple[int, NDArray[np.uint8]] | None = None
        self._position = 0
        self._pending = self._read_next()
        if self._pending is None:
            raise SourceError(f"{name}: {self.warnings.messages[-1]}")
        height, width = self._pending[1].shape[:2]
        self.info = SourceInfo(
            name=name,
            kind="images",
            width=width,
            height=height,
            rate=self._rate,
            frames=len(paths),
            duration=float(len(paths) / self._rate),
            codec=paths[0].suffix.lstrip(".").lower(),
            seekable=True,
        )
        if options.start > 0:
            last = float((len(paths) - 1) / self._rate)
            if last < options.start - 1e-6:
                raise ends_before_start(name, last, options.start)
            self._go_to(options.start)

    def _read_next(self) -> tuple[int, NDArray[np.uint8]] | None:
        while self._position < len(self._paths):
            position, self._position = self._position, self._position + 1
            try:
                return position, read_image(self._paths[position])
            except SourceError as error:
                self.warnings.add(str(error), errors=1)
        return None

    def __next__(self) -> Frame:
        if self._closed or self._limit.reached:
            self.state = "closed" if self._closed else "ended"
            raise StopIteration
        found, self._pending = self._pending or self._read_next(), None
        if self.options.loop and not self._within(found):
            self._go_to(self.options.start)
            found = self._read_next()
        if found is None or not self._within(found):
            self.state = "ended"
            raise StopIteration
        position, image = found
        index, self._delivered = self._delivered, self._delivered + 1
        seconds = float(position / self._rate)
        self._limit.count(seconds)
        file = str(self._paths[position])
        return Frame(image, index, position, 1 / self._rate, seconds, time.monotonic(), 0, self.info.name, file)

    def _within(self, found: tuple[int, NDArray[np.uint8]] | None) -> bool:
        """Whether there is an image, and it lies before `end`."""
        end = self.options.end
        return found is not None and (end is None or found[0] < end * float(self._rate) - 1e-6)

    def seek(self, seconds: float, before: bool = False) -> None:
        self._go_to(seconds, before)
        last = self._limit.seek(float(self._position / self._rate), float(self._rate))
        if last is not None:
            self._go_to(last)
        self.state = "connected"

    def _go_to(self, seconds: float, before: bool = False) -> None:
        exact = seconds * float(self._rate)
        position = int(np.ceil(exact - 1e-6)) - (1 if before else 0)
        self._pending = None
        self._position = min(max(0, position), len(self._paths) - 1)

    def close(self) -> None:
        self._closed = True
        self.state = "closed"
