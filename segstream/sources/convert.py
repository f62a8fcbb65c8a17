"""From a decoded frame to an upright uint8 [H, W, 3] RGB array, whatever its pixel format, depth and rotation."""

from __future__ import annotations

import threading
from fractions import Fraction
from typing import cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from segstream.sources.base import check_size

_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_LONGEST_PIXEL = 20  # a pixel longer than this, one way or the other, is a damaged header
_local = threading.local()


def to_rgb(frame: VideoFrame, name: str, turned: bool = True) -> NDArray[np.uint8]:
    """Convert a decoded frame.

    Args:
        frame: any pixel format and bit depth.
        name: of the source, for errors.
        turned: turn it by the rotation that its container states.

    Returns:
        uint8 [H, W, 3], RGB, contiguous, upright if `turned`.

    Raises:
        SourceError: the frame is larger than any that is read.
    """
    check_size(frame.width, frame.height, name)
    # One reformatter a thread keeps its scaler between frames; a new one per frame leaks in PyAV 18.
    reformatter = getattr(_local, "reformatter", None)
    if reformatter is None:
        reformatter = _local.reformatter = VideoReformatter()
    rotation = frame.rotation if turned else 0
    # High definition that does not name its colours is BT.709 for every player; the scaler would assume BT.601.
    assumed = Colorspace.ITU709 if frame.colorspace == _UNSPECIFIED and frame.height >= 720 else None
    rgb = reformatter.reformat(frame, format="rgb24", src_colorspace=assumed, threads=1)
    return upright(cast("NDArray[np.uint8]", rgb.to_ndarray()), rotation)


def upright(image: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """Turn a picture by the rotation its container states.

    Args:
        image: uint8 [H, W, 3].
        rotation: degrees counter-clockwise, as FFmpeg counts; other than multiples of 90 are left alone.

    Returns:
        uint8 [H, W, 3], contiguous (decoders leave room at the ends of rows).
    """
    turns = _quarter_turns(rotation)
    return np.ascontiguousarray(np.rot90(image, turns) if turns else image)


def _quarter_turns(rotation: int) -> int:
    return round(rotation / 90) % 4 if rotation % 90 == 0 else 0


def upright_shape(frame: VideoFrame, stream: VideoStream) -> tuple[int, int, Fraction]:
    """Width, height and pixel aspect (`SourceInfo.pixel_aspect`) of a frame of `stream` once it stands upright."""
    # The stream's own answer weighs the container against the codec; some codecs tell theirs with the first picture.
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, _LONGEST_PIXEL) <= aspect <= _LONGEST_PIXEL:
        aspect = Fraction(1)
    if _quarter_turns(frame.rotation) % 2:
        return frame.height, frame.width, 1 / aspect
    return frame.width, frame.height, aspect
