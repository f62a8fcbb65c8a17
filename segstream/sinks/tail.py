"""The end of an MP4 whose disk was full: a fragment cut in the middle is taken off, as strict readers give up there."""

from __future__ import annotations

import os
import struct
from pathlib import Path


def trim_tail(path: Path) -> None:
    """Cut a fragmented MP4 after its last complete fragment. Does nothing to a file without any."""
    end = os.path.getsize(path)
    keep = 0
    with open(path, "r+b") as file:
        at = 0
        while at + 8 <= end:
            file.seek(at)
            size, kind = struct.unpack(">I4s", file.read(8))
            if size == 1:
                size = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))[0]
            if size < 8 or at + size > end:
                break
            at += size
            # A "moof" describes the "mdat" behind it: only the pair is of use.
            if kind == b"mdat":
                keep = at
            elif kind == b"moov" and keep:
                return  # an ordinary MP4, its index at the end
        if 0 < keep < end:
            file.truncate(keep)
