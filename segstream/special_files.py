"""Files that are no files: devices, pipes, and what stands for an open file."""

from __future__ import annotations

import os
from pathlib import Path


def is_special(path: Path) -> bool:
    """Whether a path is written to as it is and never replaced: a device, a pipe, or what stands for an open file."""
    for _ in range(40):  # as many links as the system follows
        if os.path.abspath(path).startswith(("/dev/fd/", "/proc/")):  # where /dev/stdout leads too
            return True
        if not os.path.islink(path):
            break
        path = path.parent / os.readlink(path)
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))
