"""Masks as palette PNG: the pixel is the class index, the palette its colour."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segstream.errors import OutputError
from segstream.frames import Result
from segstream.sinks.base import Sink, output_error


def palette_png(labels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """A PNG file with one byte per pixel and a palette.

    Args:
        labels: uint8 [H, W].
        palette: uint8 [K, 3], RGB, K at most 256.
    """
    height, width = labels.shape
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter, 0: none
    rows[:, 1:] = labels
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", colours.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 3)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


class MaskSink(Sink):
    """Writes `000000.png`, `000001.png`, ... into a folder, which it makes if its parent is there."""

    def __init__(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        super().__init__()
        self.path = Path(folder)
        self._made = False
        self._earlier: set[str] = set()  # names of PNG files that were there and have not been replaced
        if self.path.is_dir():
            self._earlier = {path.name for path in self.path.glob("*.png")}
            if not overwrite and self._earlier:
                raise OutputError(f"{self.path} already holds PNG files; choose another folder or allow overwriting")
        elif self.path.exists():
            raise OutputError(f"{self.path} is a file; give a folder for the masks")
        else:
            try:
                self.path.mkdir()
                self._made = True
            except OSError as error:
                raise OutputError(
                    f"the folder {self.path} cannot be made ({error.strerror}); check its parent"
                ) from error

    def write(self, result: Result, picture: NDArray[np.uint8] | None) -> None:
        name = self.path / f"{result.index:06d}.png"
        part = name.with_suffix(".part")
        try:
            part.write_bytes(palette_png(result.labels, result.palette))
            os.replace(part, name)
            self._earlier.discard(name.name)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise output_error(name, error) from error

    def close(self) -> None:
        """Every file was finished when it was written."""
        if self._earlier:
            self.notes.append(f"{self.path} still holds {len(self._earlier)} PNG files from before")

    def abort(self) -> None:
        if self._made:
            with contextlib.suppress(OSError):  # there are masks in it
                self.path.rmdir()
