"""Cameras of this machine."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import av

# The input device of FFmpeg for each system.
FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


@dataclass(frozen=True)
class Camera:
    """A camera: `name` is what `open_source` takes, `modes` its sizes and rates where the system tells them."""

    name: str
    description: str
    modes: tuple[str, ...] = ()


def camera_format() -> str:
    return FORMATS.get(sys.platform, "v4l2")


def device_name(device: str) -> str:
    """What FFmpeg calls the camera that a user names by its number, its device file or its name."""
    format = camera_format()
    if format == "v4l2" and device.isdecimal():
        return f"/dev/video{device}"
    if format == "dshow" and not device.startswith("video="):
        return f"video={device}"
    return device


def list_cameras() -> list[Camera]:
    """Every camera that the system names; empty if there is none or the system cannot tell."""
    format = camera_format()
    try:
        devices = av.enumerate_input_devices(format)
    except (OSError, ValueError, av.error.FFmpegError):
        return []
    found = []
    for device in devices:
        modes: tuple[str, ...] = ()
        if format == "v4l2":
            from segstream.sources.v4l2 import camera_modes

            modes = camera_modes(device.name)
            if not modes:
                continue  # a device for metadata or output
        name = f"video={device.name}" if format == "dshow" else device.name
        found.append(Camera(name, device.description, modes))
    return found
