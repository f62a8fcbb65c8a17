"""Cameras: what a driver answers becomes a list of modes. No test machine has one, so the driver is a table here."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from segstream.errors import SourceError
from segstream.sources import SourceOptions, list_cameras, open_source
from segstream.sources.v4l2 import ENUM_FORMAT, ENUM_RATE, ENUM_SIZE, camera_modes, modes

YUYV, MJPG = (struct.unpack("<I", name)[0] for name in (b"YUYV", b"MJPG"))
TABLE = {YUYV: {(640, 480): [(1, 30), (1, 15)]}, MJPG: {(1280, 720): [(1, 60)], (1920, 1080): [(1001, 30_000)]}}


def driver(request: int, data: bytes) -> bytes:
    """Answers as the kernel does: the structure filled in, or EINVAL past the last entry."""
    try:
        if request == ENUM_FORMAT:
            index, kind = struct.unpack_from("=II", data)
            assert len(data) == 64 and kind == 1
            return data[:44] + struct.pack("=I", list(TABLE)[index]) + data[48:]
        if request == ENUM_SIZE:
            assert len(data) == 44
            index, fourcc = struct.unpack_from("=II", data)
            return struct.pack("=IIIII", index, fourcc, 1, *list(TABLE[fourcc])[index]) + data[20:]
        assert request == ENUM_RATE and len(data) == 52
        index, fourcc, width, height = struct.unpack_from("=IIII", data)
        return data[:16] + struct.pack("=III", 1, *TABLE[fourcc][width, height][index]) + data[28:]
    except IndexError:
        raise OSError(22, "Invalid argument") from None


def test_modes_of_a_camera() -> None:
    assert list(modes(driver)) == [
        "YUYV 640x480 at 30, 15 fps",
        "MJPG 1280x720 at 60 fps",
        "MJPG 1920x1080 at 29.97 fps",
    ]
    # As linux/videodev2.h has them on every 64-bit machine.
    assert (ENUM_FORMAT, ENUM_SIZE, ENUM_RATE) == (0xC0405602, 0xC02C564A, 0xC034564B)


def test_what_is_no_camera_has_no_modes(tmp_path: Path) -> None:
    assert camera_modes("/dev/null") == ()
    assert camera_modes(str(tmp_path / "video9")) == ()
    assert all(camera.modes for camera in list_cameras())


def test_a_missing_camera_is_one_sentence() -> None:
    with pytest.raises(SourceError, match="camera"):
        open_source("/dev/video77", SourceOptions(cam_size=(640, 480), cam_fps=30, cam_format="mjpeg"))
    with pytest.raises(SourceError, match="camera"):
        open_source(77)
