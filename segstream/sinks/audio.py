"""The sound of a recording: copied packet by packet, or transcoded where the container does not take it."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from segstream.sinks.soundtrack import Soundtrack

# What each container takes as it is. FFmpeg accepts more into MP4 than players can play.
_COPIES = {
    "mp4": {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"},
    "mov": {"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le"},
    "webm": {"opus", "vorbis"},
}
_OF_BLOCKS = ("wma", "adpcm", "atrac", "cook", "sipr", "ra_")  # decoders that must know the size of a block
_ENCODERS = {"mp4": ("aac", "libopus"), "mov": ("aac",), "webm": ("libopus",), "matroska": ("aac", "libopus")}


class AudioWriter:
    """Writes a soundtrack into a container, `shift` seconds later than it says."""

    def __init__(
        self, container: OutputContainer, sound: Soundtrack, mode: str, shift: float, notes: list[str]
    ) -> None:
        tap = sound.tap
        self._container, self._sound, self._shift = container, sound, shift
        self._last_dts: int | None = None
        self._notes = notes
        self._source: AudioCodecContext | None = None  # whose packets are transcoded
        self._decoder: AudioCodecContext | None = None
        self._next_sample: int | None = None
        kind = container.format.name.split(",")[0]
        codec = tap.stream.codec_context.name
        if kind == "matroska":
            taken = not codec.startswith(_OF_BLOCKS)  # a copy's description lacks the size of a block
        else:
            taken = _canonical(codec) in _COPIES.get(kind, set())
        template = tap.template if mode == "copy" and taken else None
        self._copy = template is not None
        self._stream: AudioStream
        if template is not None:
            self._stream = container.add_stream_from_template(template)
            return
        encoder = next(name for name in _ENCODERS.get(kind, ("aac",)) if name in av.codecs_available)
        if mode == "copy":
            notes.append(f"{kind} does not take {codec} sound, so it is transcoded to {encoder.removeprefix('lib')}")
        rate = 48_000 if encoder == "libopus" else _nearest_rate(encoder, tap.stream.rate or 48_000)
        self._stream = cast(AudioStream, container.add_stream(encoder, rate=rate))
        source = tap.stream.codec_context
        layout = "mono" if source.layout.nb_channels == 1 else "stereo"
        self._stream.codec_context.layout = layout
        self._stream.codec_context.open()
        self._source = source
        if not codec.startswith(_OF_BLOCKS):
            self._decoder = _decoder_like(source)
        self._resampler = AudioResampler(
            format=self._stream.codec_context.format,
            layout=layout,
            rate=rate,
            frame_size=self._stream.codec_context.frame_size or None,
        )

    def write(self, until: float, closing: bool = False) -> None:
        """Write the sound before `until` seconds of the file."""
        for time, seconds, packet in self._sound.take(until - self._shift, closing):
            base = packet.time_base or Fraction(1, 48_000)
            at = time + self._shift
            # What comes before the first picture is left out, but for the samples that an encoder begins with where
            # the recording begins with the source: further back they would hide as much of what follows.
            if at < 0 and (seconds >= 0 or at < seconds - 0.001):
                continue
            if self._copy:
                self._mux_copy(packet, at, base)
            else:
                self._transcode(packet, at)

    def _mux_copy(self, packet: Packet, at: float, base: Fraction) -> None:
        pts = round(at / base)
        if self._last_dts is not None and pts <= self._last_dts:
            pts = self._last_dts + 1
        self._last_dts = pts
        packet.pts = packet.dts = pts
        packet.stream = self._stream
        self._container.mux_one(packet)

    def _transcode(self, packet: Packet, at: float) -> None:
        if self._source is None:
            return
        try:
            if self._decoder is None:
                self._decoder = _decoder_like(self._source, block=packet.size)
            frames = self._decoder.decode(packet)
        except (av.error.FFmpegError, ValueError):
            note = f"some of the {_canonical(self._source.name)} sound cannot be decoded and is left out"
            if note not in self._notes:
                self._notes.append(note)
            return
        for frame in frames:
            wanted = round(at * frame.sample_rate)
            # Rounding must not tear the samples apart, a real gap must stay one; what is late finds its place taken.
            late = 0 if self._next_sample is None else self._next_sample - wanted
            if late > frame.sample_rate // 10:
                at += frame.samples / frame.sample_rate
                continue
            if self._next_sample is None or -late > frame.sample_rate // 10:
                self._next_sample = wanted
            frame.pts, frame.time_base = self._next_sample, Fraction(1, frame.sample_rate)
            self._next_sample += frame.samples
            at += frame.samples / frame.sample_rate
            self._encode(frame)

    def _encode(self, frame: AudioFrame | None) -> None:
        for ready in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(ready))

    def close(self, until: float, last: bool) -> None:
        """Write what is left: all if this is the `last` file and the source has ended, else up to `until` seconds."""
        self.write(float("inf") if last and self._sound.tap.complete else until, closing=True)
        if not self._copy:
            self._encode(None)
            self._container.mux(self._stream.encode(None))


def _nearest_rate(encoder: str, rate: int) -> int:
    """The rate nearest to `rate` that an encoder takes, of two as near the higher one."""
    rates = av.Codec(encoder, "w").audio_rates or [rate]
    return min(rates, key=lambda other: (abs(other - rate), -other))


def _canonical(codec: str) -> str:
    """Name of the codec a decoder is for: "mp3float" decodes mp3."""
    return {"mp3float": "mp3", "libopus": "opus", "libvorbis": "vorbis", "aac_fixed": "aac"}.get(codec, codec)


def _decoder_like(source: AudioCodecContext, block: int = 0) -> AudioCodecContext:
    """A decoder of our own, for the source's belongs to its thread.

    Args:
        source: what it is to be like.
        block: bytes of a packet, which decoders of fixed blocks must know and PyAV does not tell; 0 for others.
    """
    decoder = cast(AudioCodecContext, av.CodecContext.create(source.name, "r"))
    decoder.extradata = source.extradata
    decoder.sample_rate = source.sample_rate
    decoder.layout = source.layout
    if block:
        decoder.bit_rate = source.bit_rate or 0
        decoder.options = {"block_align": str(block)}
        if source.name.startswith("adpcm"):
            decoder.options = {**decoder.options, "bits_per_coded_sample": "4"}
    return decoder
