"""What every source is: an iterator of `Frame` with a description, a state, counters and `close`."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Integral, Real
from typing import TYPE_CHECKING, Self

from segstream.errors import SourceError, UsageError
from segstream.frames import Frame

if TYPE_CHECKING:
    from segstream.sources.audio import AudioTap

# A picture larger than this is refused before anything is allocated: 100 megapixels, three times 8K.
MAX_PIXELS = 100_000_000
MAX_SIDE = 32_768

_CREDENTIALS = re.compile(r"(\w://)[^\s/]+@")  # FFmpeg's messages may quote URLs
_QUERY = re.compile(r"(\w://[^\s?'\"]*)\?[^\s'\"]+")  # whose queries may hold tokens

_CHOICES = {
    "live": ("latest", "all"),
    "rtsp_transport": ("tcp", "udp"),
    "hwaccel": ("auto", "off", "cuda"),
}


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How a source is opened and read.

    Attributes:
        live: for live sources, "latest" (the newest frame wins, others are dropped and counted) or "all".
        open_timeout: seconds a connection may take.
        read_timeout: seconds without data after which a live source counts as stalled.
        reconnect: attempts to get a lost live source back; `math.inf` or True for ever, 0 or False for none.
        rtsp_transport: "tcp" or "udp".
        cam_size: width and height asked of a camera.
        cam_fps: frames per second asked of a camera.
        cam_format: pixel or stream format asked of a camera ("mjpeg", "yuyv422").
        hwaccel: hardware decoding of files: "auto" (where a trial frame works), "off" or "cuda".
        loop: start again at the end (files, images, demo).
        start: seconds to skip at the beginning of a file, or of a live source after its first picture.
        end: seconds at which a file ends, or a live source, counted from its first picture.
        max_frames: frames after which any source ends, counted from its start: after a seek it ends at the same one.
        image_rate: frames per second that images without timestamps are given.
    """

    live: str = "latest"
    open_timeout: float = 10.0
    read_timeout: float = 5.0
    reconnect: float = math.inf
    rtsp_transport: str = "tcp"
    cam_size: tuple[int, int] | None = None
    cam_fps: float | None = None
    cam_format: str | None = None
    hwaccel: str = "auto"
    loop: bool = False
    start: float = 0.0
    end: float | None = None
    max_frames: int | None = None
    image_rate: float = 25.0

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        if self.reconnect is True:
            object.__setattr__(self, "reconnect", math.inf)
        for name in ("open_timeout", "read_timeout", "reconnect", "start", "end", "image_rate"):
            value = getattr(self, name)
            if value is None and name == "end":
                continue
            if not isinstance(value, Real) or math.isnan(value):
                raise UsageError(f"{name} must be a number, not {value!r}")
        if self.max_frames is not None and not isinstance(self.max_frames, Integral):
            raise UsageError(f"max_frames must be a whole number, not {self.max_frames!r}")
        for name in ("open_timeout", "read_timeout", "image_rate"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be greater than 0, not {getattr(self, name)}")
        if self.reconnect < 0 or self.start < 0:
            raise UsageError("reconnect and start must not be negative")
        if self.end is not None and self.end <= self.start:
            raise UsageError(f"end ({self.end} s) must lie after start ({self.start} s)")
        if self.max_frames is not None and self.max_frames < 1:
            raise UsageError(f"max_frames must be at least 1, not {self.max_frames}")


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """What is known of a source once it is open.

    Attributes:
        name: to show; never with credentials.
        kind: "file", "images", "demo", "camera", "network" or "lavfi".
        width: pixels of an upright frame.
        height: pixels of an upright frame.
        rate: frames per second as the container states it, or None.
        frames: number of frames if known (for some containers an estimate).
        duration: seconds, if known.
        start_seconds: timestamp at which the container starts; a recording counts from here.
        is_live: frames come at their own pace and cannot be asked for again.
        has_audio: there is a sound track.
        rotation: degrees by which the stored picture is turned to stand upright.
        pixel_aspect: width of a pixel of an upright frame over its height; 1 where the source says nothing.
        codec: name of the video codec.
        decoder: "software" or the name of the hardware decoder.
        seekable: `Source.seek` works.
    """

    name: str
    kind: str
    width: int
    height: int
    rate: Fraction | None = None
    frames: int | None = None
    duration: float | None = None
    start_seconds: float = 0.0
    is_live: bool = False
    has_audio: bool = False
    rotation: int = 0
    pixel_aspect: Fraction = Fraction(1)
    codec: str = ""
    decoder: str = "software"
    seekable: bool = False


@dataclass(slots=True)
class SourceWarnings:
    """Trouble that did not end the source.

    Attributes:
        errors: packets and images that could not be decoded.
        corrupt: complaints of the decoder about damaged data in frames that were delivered all the same.
        messages: the first few, in words.
    """

    errors: int = 0
    corrupt: int = 0
    messages: list[str] = field(default_factory=list)

    def add(self, message: str, *, errors: int = 0, corrupt: int = 0) -> None:
        message = _QUERY.sub(r"\1?...", _CREDENTIALS.sub(r"\1", message))
        self.errors += errors
        self.corrupt += corrupt
        if len(self.messages) < 5 and message and message not in self.messages:
            self.messages.append(message)

    def summary(self) -> str | None:
        """One sentence, or None if all was well."""
        parts = []
        if self.errors:
            parts.append(f"{self.errors} packets or images could not be decoded")
        if self.corrupt:
            parts.append(f"the decoder complained {self.corrupt} times of damaged data")
        if not parts:
            return "; ".join(self.messages) or None
        return " and ".join(parts) + (f" ({'; '.join(self.messages)})" if self.messages else "")


class Source(ABC):
    """An iterator of frames. Use it as a context manager, or call `close`.

    Attributes:
        info: what is known of it.
        warnings: trouble so far.
        dropped: frames dropped so far in favour of newer ones (live sources only).
        reconnects: how often the connection came back.
    """

    info: SourceInfo

    def __init__(self, options: SourceOptions) -> None:
        self.options = options
        self.warnings = SourceWarnings()
        self.dropped = 0
        self.reconnects = 0
        self.state = "connected"
        self._delivered = 0

    @abstractmethod
    def __next__(self) -> Frame:
        """The next frame; blocks until there is one.

        Raises:
            StopIteration: the source has ended.
            SourceError: it cannot be read any further.
        """

    def __iter__(self) -> Iterator[Frame]:
        return self

    def seek(self, seconds: float, before: bool = False) -> None:
        """Make the next frame the first at or after `seconds`, or with `before` the last one before it.

        Raises:
            SourceError: this source cannot be positioned.
        """
        raise SourceError(f"{self.info.name} cannot be positioned: it is not a file; play it from where it is")

    def tap_audio(self) -> AudioTap | None:
        """Collect the sound packets met from now on; None if there is no sound. Call it before the first frame."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Release everything. May be called more than once and from another thread."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ends_before_start(name: str, end: float, start: float) -> SourceError:
    """The error of a source whose last frame, at `end` seconds, comes before the first that was asked for."""
    return SourceError(f"{name} ends at {end:.2f} s, before --start {start:g}; give a smaller one")


def check_size(width: int, height: int, name: str) -> None:
    """Refuse sizes no camera makes before anything is allocated for them.

    Raises:
        SourceError: the picture is empty or larger than `MAX_PIXELS`.
    """
    if width < 1 or height < 1:
        raise SourceError(f"{name} has no picture size, so its header is damaged; give another file")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise SourceError(
            f"{name} claims a picture of {width}x{height} pixels, more than the {MAX_PIXELS // 1_000_000} megapixels "
            "that are read; scale it down first"
        )
