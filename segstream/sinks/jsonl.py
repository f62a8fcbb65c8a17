"""One JSON line per frame."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segstream.errors import OutputError
from segstream.frames import Result
from segstream.sinks.base import OutputFile, Sink, output_error
from segstream.sinks.rle import coco_rle


class JsonlSink(Sink):
    """Writes `{"index", "pts_seconds", "blocks", "block_px", "high_share", "gmacs", "classes", "ms", "dropped"}` per
    frame, flushed.

    Lines of images also have "file", the image's path: where one that cannot be read is left out, the index does not
    tell any more which image it was.

    With `rle` each line also has `"rle"`: {class: COCO run-length encoding of its mask}.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = False, rle: bool = False) -> None:
        super().__init__()
        self._target = OutputFile(path, overwrite)
        self.path = self._target.path
        self._rle = rle
        self._target.claim()
        try:
            self._file = open(self._target.working, "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise output_error(self.path, error) from error

    def write(self, result: Result, picture: NDArray[np.uint8] | None) -> None:
        try:
            self._file.write(json.dumps(as_json(result, self._rle), separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as error:
            raise output_error(self.path, error) from error

    def close(self) -> None:
        try:
            self._close_file()
            self._target.commit()
        except OutputError:
            self._target.leave(self.notes)
            raise

    def abort(self) -> None:
        with suppress(OutputError):  # the line that could not be written is tried again
            self._close_file()
        self._target.discard_if_empty()
        self._target.leave(self.notes)

    def _close_file(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise output_error(self.path, error) from error


def as_json(result: Result, rle: bool = False) -> dict[str, Any]:
    """The line for one result, as a dictionary."""
    line: dict[str, Any] = {
        "index": result.index,
        **({"file": result.frame.file} if result.frame.file else {}),
        "pts_seconds": None if result.pts_seconds is None else round(result.pts_seconds, 6),
        "blocks": result.blocks.astype(int).tolist(),
        "block_px": [round(side, 2) for side in result.block_px],
        "high_share": round(result.high_share, 4),
        "gmacs": round(result.gmacs, 3),
        "classes": {name: round(share, 5) for name, share in result.class_shares().items()},
        "ms": {stage: round(value, 2) for stage, value in result.timings.items()},
        "dropped": result.dropped,
    }
    if rle:
        present = np.unique(result.labels)
        line["rle"] = {
            result.classes[index]: coco_rle(result.labels == index) for index in present if index < len(result.classes)
        }
    return line
