"""What a Video4Linux camera can do: its formats, sizes and rates, asked of the driver (linux/videodev2.h)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

# Asks one request with a structure and returns the driver's answer; raises OSError when there is no such entry.
Ask = Callable[[int, bytes], bytes]

_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_DISCRETE = 1  # V4L2_FRMSIZE_TYPE_DISCRETE, V4L2_FRMIVAL_TYPE_DISCRETE
_FORMAT = struct.Struct("=III32sII12x")  # v4l2_fmtdesc: index, type, flags, description, fourcc, mbus code
_SIZE = struct.Struct("=III24s8x")  # v4l2_frmsizeenum: index, fourcc, type, a union
_RATE = struct.Struct("=IIIII24s8x")  # v4l2_frmivalenum: index, fourcc, width, height, type, a union
_MAX_ENTRIES = 64


def _request(number: int, size: int) -> int:
    """_IOWR('V', number, size)"""
    return 3 << 30 | size << 16 | ord("V") << 8 | number


ENUM_FORMAT = _request(2, _FORMAT.size)
ENUM_SIZE = _request(74, _SIZE.size)
ENUM_RATE = _request(75, _RATE.size)


def modes(ask: Ask) -> Iterator[str]:
    """Each format and size with its rates, like "MJPG 1280x720 at 30, 15 fps"."""
    for index in range(_MAX_ENTRIES):
        try:
            answer = ask(ENUM_FORMAT, _FORMAT.pack(index, _CAPTURE, 0, b"", 0, 0))
        except OSError:
            return
        fourcc = _FORMAT.unpack(answer)[4]
        name = struct.pack("<I", fourcc).decode("ascii", "replace").strip()
        for width, height in _sizes(ask, fourcc):
            rates = [f"{rate:.4g}" for rate in _rates(ask, fourcc, width, height)]
            yield f"{name} {width}x{height}" + (f" at {', '.join(rates)} fps" if rates else "")


def _sizes(ask: Ask, fourcc: int) -> Iterator[tuple[int, int]]:
    for index in range(_MAX_ENTRIES):
        try:
            answer = ask(ENUM_SIZE, _SIZE.pack(index, fourcc, 0, b""))
        except OSError:
            return
        _, _, kind, union = _SIZE.unpack(answer)
        if kind == _DISCRETE:
            width, height = struct.unpack_from("=II", union)
            yield width, height
        else:  # any size up to the largest
            _, width, _, _, height, _ = struct.unpack("=6I", union)
            yield width, height
            return


def _rates(ask: Ask, fourcc: int, width: int, height: int) -> Iterator[float]:
    for index in range(_MAX_ENTRIES):
        try:
            answer = ask(ENUM_RATE, _RATE.pack(index, fourcc, width, height, 0, b""))
        except OSError:
            return
        *_, kind, union = _RATE.unpack(answer)
        seconds, parts = struct.unpack_from("=II", union)
        if seconds:
            yield parts / seconds
        if kind != _DISCRETE:
            return


def camera_modes(device: str) -> tuple[str, ...]:
    """What the camera `device` (/dev/video0) offers; empty if it cannot be asked."""
    import fcntl

    try:
        file = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return ()
    try:
        return tuple(modes(lambda request, data: fcntl.ioctl(file, request, data)))
    finally:
        os.close(file)
