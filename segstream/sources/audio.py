"""The sound that belongs to the pictures: packets set aside while the pictures are read, for whoever writes a file."""

from __future__ import annotations

import io
import threading
from collections import deque
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

# About ten minutes of AAC; a source whose sound nobody takes must not fill the memory.
_MAX_WAITING = 30_000


class AudioTap:
    """Sound packets of one source, in order.

    Attributes:
        stream: the stream they come from.
        template: a copy of its description, for files to come: the stream's own goes with its container, which a live
            source replaces whenever it reconnects, and FFmpeg would read freed memory. None where there can be no copy.
        complete: the source has been read to its end, so all that is left belongs to it.
        lost: packets thrown away because nobody took them.
        newest: seconds of the packet put last.
    """

    def __init__(self, stream: AudioStream) -> None:
        self.stream = stream
        self.template = copy_of(stream)
        self.complete = False
        self.lost = 0
        self.newest = float("-inf")  # seconds of the last packet that came
        self._packets: deque[tuple[float, Packet]] = deque()
        self._apart: deque[tuple[float, Packet]] | None = None  # while the source is looking for its place
        self._from = float("-inf")  # what comes before is not kept
        self._lock = threading.Lock()

    def put(self, packet: Packet, shift: float = 0.0) -> None:
        """Add a packet; `shift` seconds are added to its time."""
        base = packet.time_base or Fraction(1, 1)
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None:
            return
        seconds = float(time * base) + shift
        with self._lock:
            self.newest = seconds
            if self._apart is not None:
                self._apart.append((seconds, packet))
                return
            if seconds < self._from:
                return
            self._from = float("-inf")
            if len(self._packets) >= _MAX_WAITING:
                self._packets.popleft()
                self.lost += 1
            self._packets.append((seconds, packet))

    def take(self, until: float) -> list[tuple[float, Packet]]:
        """Remove and return (seconds, packet) of all that begin before `until` seconds."""
        taken = []
        with self._lock:
            while self._packets and self._packets[0][0] < until:
                taken.append(self._packets.popleft())
        return taken

    def clear(self) -> None:
        with self._lock:
            self._packets.clear()

    def cut(self, end: float) -> None:
        """Throw away what was put last, as far back as `end` seconds: no pictures belong to it."""
        with self._lock:
            while self._packets and self._packets[-1][0] >= end:
                self._packets.pop()

    def hold(self) -> None:
        """Keep apart what comes from now on; what is apart already is thrown away."""
        with self._lock:
            self._apart = deque(maxlen=_MAX_WAITING)
            self.newest = float("-inf")

    def release(self, begin: float) -> None:
        """Let what was kept apart, and what comes next, be taken, from `begin` seconds on."""
        with self._lock:
            apart, self._apart, self._from = self._apart, None, begin
            self._packets.extend(entry for entry in apart or () if entry[0] >= begin)


def copy_of(stream: AudioStream) -> AudioStream | None:
    """A stream with the same description in a container of its own; None if Matroska cannot hold it."""
    try:
        return av.open(io.BytesIO(), "w", format="matroska").add_stream_from_template(stream)
    except (av.error.FFmpegError, ValueError):
        return None


def audio_tap(container: InputContainer) -> AudioTap | None:
    """A tap for the first sound stream, if there is one whose codec is known."""
    streams = container.streams.audio
    return AudioTap(streams[0]) if streams and streams[0].codec_context is not None else None
