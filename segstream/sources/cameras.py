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


def list_cameras() -> list[Camera]:
    """Every camera that the system names; empty if there is none or the system cannot tell."""
    try:
        devices = av.enumerate_input_devices(camera_format())
    except (OSError, ValueError, av.error.FFmpegError):
        return []
    return [Camera(device.name, device.description) for device in devices]
