"""Which encoder writes a video: tried with one frame before it is relied on, because a listed encoder may not work."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np

from segstream.errors import OutputError, UsageError

# File suffix: FFmpeg's name of the container and the codecs it takes, the default first.
CONTAINERS = {
    ".mp4": ("mp4", ("h264", "hevc", "av1", "vp9")),
    ".m4v": ("mp4", ("h264", "hevc", "av1", "vp9")),
    ".mov": ("mov", ("h264", "hevc", "av1")),
    ".mkv": ("matroska", ("h264", "hevc", "vp9", "av1", "ffv1")),
    ".webm": ("webm", ("vp9", "av1")),
}
# Codec: its encoders, the one to use first. Hardware encoders serve by name, or where there is no software encoder.
ENCODERS = {
    "h264": ("libx264", "libopenh264", "h264_nvenc", "h264_videotoolbox", "h264_v4l2m2m"),
    "hevc": ("libx265", "hevc_nvenc", "hevc_videotoolbox"),
    "vp9": ("libvpx-vp9",),
    "av1": ("libsvtav1", "libaom-av1", "av1_nvenc"),
    "ffv1": ("ffv1",),
}
_SOFTWARE = {"libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1"}
_ANY_SIZE = 4096  # pixels of a side up to which these encoders take every size
_SVT_SMALLEST = 32  # pixels of a side; with less it may wait for itself for ever, as at 256x18
_MAX_CRF = {"h264": 51, "hevc": 51, "vp9": 63, "av1": 63}
# Fast presets, few threads (the network needs the cores) and no frames held back, so that little is lost by a crash.
_OPTIONS = {
    # "ultrafast" with what costs little and saves much switched on again: a third of the time of "veryfast" with as
    # short a lookahead, for files a quarter to a third larger.
    "libx264": {
        "preset": "ultrafast",
        "crf": "21",
        "x264-params": "bframes=0:mbtree=1:rc-lookahead=3:sync-lookahead=0:cabac=0:deblock=0,0:8x8dct=1",
    },
    "libx265": {"preset": "superfast", "crf": "25", "x265-params": "log-level=none:bframes=0:rc-lookahead=3:pools=2"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "lag-in-frames": "0", "crf": "32", "b": "0"},
    "libsvtav1": {"preset": "11", "crf": "35", "svtav1-params": "lp=2:lookahead=0:pred-struct=1"},
    "h264_nvenc": {"preset": "p4", "cq": "21", "bf": "0"},
    "hevc_nvenc": {"preset": "p4", "cq": "25", "bf": "0"},
    "av1_nvenc": {"preset": "p4", "cq": "35", "bf": "0"},
    "ffv1": {"level": "3", "g": "1", "slices": "4"},
}


@dataclass(frozen=True)
class Encoder:
    """An encoder that has encoded a frame of the right size.

    Attributes:
        name: FFmpeg's name.
        codec: "h264", "hevc", "vp9", "av1" or "ffv1".
        pix_fmt: pixel format it is given.
        options: its options.
    """

    name: str
    codec: str
    pix_fmt: str
    options: dict[str, str]


def choose_encoder(wanted: str, suffix: str, width: int, height: int, crf: int | None, notes: list[str]) -> Encoder:
    """Find an encoder that works.

    Args:
        wanted: "auto", a codec, or the name of an encoder.
        suffix: of the file to write.
        width: even where the encoder needs it.
        height: even where the encoder needs it.
        crf: quality, smaller is better; None for the encoder's default here.
        notes: told of any encoder that was passed over.

    Raises:
        UsageError: a codec, container or quality that does not exist or does not fit.
        OutputError: no encoder for the codec works on this machine.
    """
    if suffix not in CONTAINERS:
        ending = f"not in {suffix}" if suffix else "but has no ending"
        raise UsageError(f"the name of a video must end in {', '.join(CONTAINERS)}, {ending}")
    allowed = CONTAINERS[suffix][1]
    codec = allowed[0] if wanted == "auto" else wanted
    first: tuple[str, ...] = ()
    if codec not in ENCODERS:
        codec = next((family for family, names in ENCODERS.items() if _family(wanted) == family), "")
        if not codec:
            raise UsageError(f"codec {wanted!r} is not known; the codecs are auto, {', '.join(ENCODERS)}")
        first = (wanted,)
    if codec not in allowed:
        raise UsageError(f"{codec} does not go into {suffix}; use {', '.join(allowed)} or another suffix")
    if crf is not None and not 0 <= crf <= _MAX_CRF.get(codec, 63):
        raise UsageError(f"crf must lie between 0 and {_MAX_CRF.get(codec, 63)} for {codec}, not {crf}")
    reasons: list[str] = []
    for name in (*first, *(name for name in ENCODERS[codec] if name not in first)):
        options = dict(_OPTIONS.get(name, {}))
        if crf is not None and name != "ffv1":
            options["cq" if name.endswith("_nvenc") else "crf"] = str(crf)
        encoder = Encoder(name, codec, "bgr0" if name == "ffv1" else "yuv420p", options)
        reason = trial(encoder, width, height)
        if reason is None:
            if first and name != wanted:
                notes.append(f"encoder {wanted} does not work here ({reasons[0]}), so {name} is used")
            return encoder
        reasons.append(reason)
    raise OutputError(
        f"no encoder for {codec} works here for {width}x{height} ({'; '.join(dict.fromkeys(reasons))}); choose another "
        "codec"
    )


def _family(name: str) -> str:
    """Codec of an encoder by its name: "h264_amf" is h264."""
    for codec, names in ENCODERS.items():
        if name in names or name.split("_")[0] == codec:
            return codec
    return ""


def configure(context: av.VideoCodecContext, encoder: Encoder, width: int, height: int, rate: Fraction) -> None:
    """Set an encoder up; used for the trial and for the file alike."""
    context.width, context.height = width, height
    context.pix_fmt = encoder.pix_fmt
    context.framerate = rate
    context.options = dict(encoder.options)
    context.thread_count = 2 if encoder.codec != "h264" else 1
    context.gop_size = max(1, round(rate * 2))
    if encoder.pix_fmt == "yuv420p":
        # Matrix as players assume it: BT.709 from 720 lines on, BT.601 below; limited range.
        context.colorspace = 1 if height >= 720 else 6
        context.color_range = 1


def trial(encoder: Encoder, width: int, height: int) -> str | None:
    """Encode one black frame. Returns None if that gives data, else the reason it does not."""
    if encoder.name == "libsvtav1":
        if min(width, height) < _SVT_SMALLEST:
            return f"{encoder.name} needs sides of {_SVT_SMALLEST} pixels or more"
        os.environ.setdefault("SVT_LOG", "1")  # errors alone: it does not print through FFmpeg
    if encoder.name in _SOFTWARE and max(width, height) <= _ANY_SIZE:
        width, height = min(width, 256), min(height, 256)  # it does every size alike, and a small one at once
    try:
        context = cast(av.VideoCodecContext, av.CodecContext.create(encoder.name, "w"))
        configure(context, encoder, width, height, Fraction(25))
        context.time_base = Fraction(1, 25)
        black = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
        frame = black.reformat(format=encoder.pix_fmt)
        frame.pts, frame.time_base = 0, context.time_base
        packets = [*context.encode(frame), *context.encode(None)]
    except (av.error.FFmpegError, ValueError, OSError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    return None if packets else "it gives no data"
