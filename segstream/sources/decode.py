"""Decoding packet by packet, so that damage costs the damaged frames and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import av
import av.logging
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from segstream.sources.base import MAX_PIXELS, SourceWarnings

# A file that yields this many bad packets in a row without one frame has nothing more to give.
_MAX_BAD_PACKETS = 100_000


class DecoderLog:
    """Counts what FFmpeg's decoders complain of while at least one source is open.

    FFmpeg conceals damage and reports it in its log only. The log is one for the process, so it is taken once, and with
    several sources open the complaints are told apart by the decoder's name only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._capture: av.logging.Capture | None = None
        self._logs: list[tuple[int, str, str]] = []
        self._unheard: dict[str, tuple[int, str]] = {}  # by name: how many complaints, and the last of them
        self._level: int | None = None

    def acquire(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._level = av.logging.get_level()
                av.logging.set_level(av.logging.ERROR)
                av.logging.set_skip_repeated(False)
                self._capture = av.logging.Capture(local=False)
                self._logs = self._capture.__enter__()
                self._unheard = {}

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._capture is not None:
                self._capture.__exit__(None, None, None)
                self._capture = None
                av.logging.set_level(self._level)

    def take(self, names: tuple[str, ...]) -> tuple[int, str]:
        """Number of complaints by the decoders and demuxers `names` since the last look, and the last of them."""
        if not self._logs and not self._unheard:
            return 0, ""
        with self._lock:
            logs = self._logs[:]
            del self._logs[: len(logs)]  # others may have come meanwhile
            for _, name, text in logs:
                self._unheard[name] = self._unheard.get(name, (0, ""))[0] + 1, text.strip()
            mine = [self._unheard.pop(name) for name in names if name in self._unheard]
        return sum(count for count, _ in mine), mine[-1][1] if mine else ""


decoder_log = DecoderLog()


def limit_allocation(stream: VideoStream) -> None:
    """Let the decoder itself refuse pictures larger than any that is read, also when they appear in mid-stream."""
    stream.codec_context.options = {**dict(stream.codec_context.options or {}), "max_pixels": str(MAX_PIXELS)}


def decode(
    container: InputContainer,
    stream: VideoStream,
    warnings: SourceWarnings,
    on_audio: Callable[[Packet], None] | None = None,
    watch: Callable[[], None] | None = None,
) -> Iterator[VideoFrame]:
    """Every frame of `stream` that can be decoded.

    Args:
        container: where to read; its sound packets go to `on_audio` if given.
        stream: the pictures.
        warnings: packets that cannot be decoded are counted here.
        on_audio: called with each packet of the first sound stream.
        watch: called after every packet; what it raises ends the reading.

    Yields:
        decoded frames in the order of presentation.

    Raises:
        av.error.FFmpegError: reading (not decoding) failed: a cut file, a lost connection, a timeout.
    """
    streams: list[Stream] = [stream]
    if on_audio is not None and container.streams.audio:
        streams.append(container.streams.audio[0])
    bad_in_a_row = 0
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except IndexError:
            packet = None  # PyAV trips at the end over streams that appeared on the way; all packets have been read
        except av.error.FFmpegError:
            # What the decoder still holds came before the damage, so it is delivered before the error.
            yield from _decode_one(stream, None, warnings) or ()
            raise
        if packet is None:
            yield from _decode_one(stream, None, warnings) or ()
            return
        if watch is not None:
            watch()
        if not packet.size:
            continue  # marks the end of a stream
        if packet.stream_index != stream.index:
            if on_audio is not None:
                on_audio(packet)
            continue
        frames = _decode_one(stream, packet, warnings)
        if frames is not None:
            bad_in_a_row = 0
            yield from frames
            continue
        bad_in_a_row += 1
        if bad_in_a_row > _MAX_BAD_PACKETS:
            return


def _decode_one(stream: VideoStream, packet: Packet | None, warnings: SourceWarnings) -> list[VideoFrame] | None:
    """Frames out of one packet (None empties the decoder); None if it could not be decoded."""
    try:
        return stream.decode(packet)
    except av.error.EOFError:
        return []
    except (av.error.FFmpegError, ValueError) as error:
        warnings.add(_reason(error), errors=1)
        return None


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def shut(container: InputContainer | None) -> None:
    """Close a container; its decoders are emptied first, because freeing one whose threads still log can block."""
    if container is None:
        return
    try:
        for stream in container.streams:
            context = getattr(stream, "codec_context", None)
            if context is not None and context.is_open:
                context.flush_buffers()
    except (av.error.FFmpegError, AssertionError, RuntimeError):
        pass
    container.close()
