"""Text in pictures, sharp at any size: Pillow's own font on a dark plate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Plate = NDArray[np.uint8]  # [h, w, 3], RGB

_BACK = (18, 20, 24)
_INK = (240, 240, 240)
_FAINT = (170, 174, 180)
_COVER = 0.78  # opacity of the plate behind the text


class Label(NamedTuple):
    """One row of a legend."""

    name: str
    figure: str
    colour: tuple[int, ...]


def place(picture: NDArray[np.uint8], content: Sequence[Label] | Sequence[str], size: int, corner: str) -> None:
    """Put a legend (a list of `Label`) or a line (a list of parts) into a corner of a picture, in place.

    A line that is too long loses its last parts, and shrinks if one part alone is still too long.

    Args:
        picture: uint8 [H, W, 3].
        content: rows of a legend, or parts of a line.
        size: height of the letters in pixels.
        corner: "top left" or "bottom left".
    """
    if not content:
        return
    h, w = picture.shape[:2]
    margin = max(2, size // 2)
    room = w - 2 * margin
    if isinstance(content[0], Label):
        plate = _legend(tuple(content), size)  # type: ignore[arg-type]
    else:
        parts = [str(part) for part in content]
        while len(parts) > 1 and _line_width("  ·  ".join(parts), size) > room:
            parts.pop()
        text = "  ·  ".join(parts)
        size = min(size, max(5, int(size * room / max(1, _line_width(text, size)))))
        plate = _line(text, size)
    plate = plate[: max(1, h - 2 * margin), : max(1, room)]
    y = margin if corner == "top left" else max(0, h - margin - plate.shape[0])
    target = picture[y : y + plate.shape[0], margin : margin + plate.shape[1]]
    plate = plate[: target.shape[0], : target.shape[1]]
    if target.size:
        # The picture shows through the bare plate, but neither through letters nor through the classes' colours.
        bare = cv2.inRange(plate, _BACK, _BACK)
        cv2.addWeighted(plate, _COVER, target, 1.0 - _COVER, 0.0, dst=target)
        cv2.copyTo(plate, cv2.bitwise_not(bare), target)


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _length(text: str, size: int) -> int:
    return int(_font(size).getlength(text)) + 1


def _line_width(text: str, size: int) -> int:
    return _length(text, size) + size


@lru_cache(maxsize=64)
def _line(text: str, size: int) -> Plate:
    plate = Image.new("RGB", (_line_width(text, size), round(size * 1.7)), _BACK)
    ImageDraw.Draw(plate).text((size // 2, plate.height // 2), text, _INK, _font(size), anchor="lm")
    return np.asarray(plate).copy()


@lru_cache(maxsize=64)
def _legend(rows: tuple[Label, ...], size: int) -> Plate:
    pitch = round(size * 1.35)
    names = max(_length(row.name, size) for row in rows)
    figures = max(_length(row.figure, size) for row in rows)
    wide = round(size * 2.6) + names + figures
    plate = Image.new("RGB", (wide, pitch * len(rows) + size // 2), _BACK)
    pen = ImageDraw.Draw(plate)
    for k, row in enumerate(rows):
        top = size // 4 + k * pitch
        middle = top + pitch // 2
        half = round(size * 0.42)
        left = round(size * 0.5)
        pen.rectangle((left, middle - half, left + 2 * half, middle + half), tuple(row.colour), _FAINT)
        pen.text((left + round(size * 1.2), middle), row.name, _INK, _font(size), anchor="lm")
        pen.text((wide - size // 2, middle), row.figure, _FAINT, _font(size), anchor="rm")
    return np.asarray(plate).copy()
