"""Pictures, masks and videos on the disk: where they go, what they are called, and what is said about it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import QStandardPaths

from segstream.frames import Result
from segstream.sinks.masks import palette_png
from segstream.ui.colours import palette_for
from segstream.ui.compose import look_of
from segstream.ui.paint import render
from segstream.ui.state import Settings

_PLACES = {
    "pictures": QStandardPaths.StandardLocation.PicturesLocation,
    "videos": QStandardPaths.StandardLocation.MoviesLocation,
}
_LONGEST_NAME = 120  # bytes of what comes before the time


def new_path(kind: str, source: str, suffix: str, ending: str = "") -> tuple[Path | None, str]:
    """A file that is not there yet in the user's pictures or videos, and what is wrong when there can be none.

    Args:
        kind: "pictures" or "videos".
        source: name of the source, which goes into the file's name.
        ending: what comes behind it.
    """
    folder = Path(QStandardPaths.writableLocation(_PLACES[kind])) / "segstream"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return None, f"The folder {folder} cannot be made ({error.strerror}); make it, or free the disk."
    stem = re.sub(r"[^\w.-]+", "-", Path(source).stem).encode()[:_LONGEST_NAME].decode(errors="ignore")
    stem = (stem.strip("-.") or "segstream") + ending
    base = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
    names = [base, *(f"{base}-{i}" for i in range(2, 1000))]
    path = next((folder / f"{name}.{suffix}" for name in names if not (folder / f"{name}.{suffix}").exists()), None)
    return path, f"The folder {folder} is full of files of this second; wait for the next."


def picture_of(result: Result, settings: Settings) -> NDArray[np.uint8]:
    """The picture as it is shown, at the size of the frame. uint8 [H, W, 3], RGB."""
    return render(result, palette_for(result, settings.palette), look_of(settings))


def save_picture(result: Result, settings: Settings, source: str) -> tuple[str, str]:
    """Save the picture as it is shown; returns a sentence and its kind."""
    picture = picture_of(result, settings)
    _, data = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 4])
    return _write("pictures", source, data.tobytes())


def save_mask(result: Result, settings: Settings, source: str) -> tuple[str, str]:
    """Save the class of every pixel as a palette PNG; returns a sentence and its kind."""
    coloured = replace(result, palette=palette_for(result, settings.palette))
    return _write("pictures", source, palette_png(coloured.labels, coloured.palette), "-mask")


def _write(kind: str, source: str, data: bytes, ending: str = "") -> tuple[str, str]:
    path, problem = new_path(kind, source, "png", ending)
    if path is None:
        return problem, "error"
    try:
        path.write_bytes(data)
    except OSError as error:
        path.unlink(missing_ok=True)
        return f"{path} could not be written ({error.strerror}); free the disk or check the folder.", "error"
    return f"Saved {path}", "note"
