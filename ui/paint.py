"""Painting a composed picture with its blocks: for the window, for screenshots and for recordings alike.

Only QPainter on an image or a widget, so it may run in any thread that owns what it paints on.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import QLineF, QPointF, QRect, QRectF, Qt
from PyQt6.QtGui import QColor, QImage, QPainter, QPen

from segstream.frames import Result
from segstream.ui import geometry
from segstream.ui.compose import Look, Picture, compose
from segstream.ui.geometry import Placement

# Grey and opacity of what is laid over the picture.
_LOW_SHADE = (0, 58 / 255)
_LINE = (255, 230 / 255)
_LINE_SHADOW = (0, 110 / 255)
_HANDLE = QColor("#1b212b")


class Canvas:
    """A picture with its blocks, ready to be shown. Made by a worker, so that the window only copies pixels."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.result = picture.request.result
        if picture.request.grid:
            _paint_grid(picture)
        self._source, self._painted = _image(picture.source), _image(picture.painted)

    def paint(self, painter: QPainter, place: Placement, look: Look, ratio: float) -> None:
        """Paint in device pixels; `place` may be newer than the pixels, `ratio` is device pixels per logical one."""
        target = QRect(*place.rect(*self.picture.crop))
        source, painted = self._source, self._painted
        if look.view != "split" or source is None or painted is None:
            _blit(painter, target, source if painted is None else painted)
        else:
            split = round(place.to_device(look.divider * place.frame[0], 0)[0])
            canvas = QRect(0, 0, *place.canvas)
            painter.setClipRect(canvas.adjusted(0, 0, split - canvas.width(), 0))
            _blit(painter, target, source)
            painter.setClipRect(canvas.adjusted(split, 0, 0, 0))
            _blit(painter, target, painted)
            painter.setClipping(False)
        if look.view == "split":
            _paint_divider(painter, place, look.divider, ratio)


def _paint_grid(picture: Picture) -> None:
    """High blocks are outlined, low ones dimmed (not in the mask, whose colours count); both end with the frame."""
    request, place, blocks = picture.request, picture.request.place, picture.request.result.blocks
    block_h, block_w = request.result.block_px
    left, top, _, _ = place.rect(*picture.crop)
    step = np.array([block_w, block_h, block_w, block_h])
    limit = np.array([*place.frame, *place.frame])
    origin = np.array([place.x, place.y, place.x, place.y])
    scales, corner = np.array([*place.scales, *place.scales]), np.array([left, top, left, top])

    def on_image(edges: NDArray[np.int64]) -> NDArray[np.int64]:
        """Blocks to pixels of the image. int64 [N, 4]"""
        return np.rint(origin + scales * np.minimum(edges * step, limit)).astype(np.int64) - corner

    runs = [(x0, row, x1, row + 1) for row, x0, x1 in geometry.low_runs(blocks)]
    low, lines = on_image(np.array(runs, dtype=np.int64).reshape(-1, 4)), on_image(geometry.grid_lines(blocks))
    thin = max(1, round(request.ratio))
    for pixels in (picture.source, picture.painted):
        if pixels is None:
            continue
        if request.view != "mask":
            _blend(pixels, low, *_LOW_SHADE)
        for (value, alpha), grow in ((_LINE_SHADOW, thin), (_LINE, 0)):
            near, far = grow + thin // 2, grow + thin - thin // 2
            _blend(pixels, lines + np.array([-near, -near, far, far]), value, alpha)


def _blend(pixels: NDArray[np.uint8], edges: NDArray[np.int64], value: int, alpha: float) -> None:
    """Lay grey rectangles over a picture. OpenCV does it, and lets the window's thread run meanwhile.

    Args:
        pixels: uint8 [H, W, 4], changed in place.
        edges: int64 [N, 4]: x0, y0, x1, y1.
        value: grey, 0..255.
        alpha: opacity, 0..1.
    """
    height, width = pixels.shape[:2]
    for x0, y0, x1, y1 in np.clip(edges, 0, [width, height, width, height]).tolist():
        if x1 > x0 and y1 > y0:
            part = pixels[y0:y1, x0:x1]
            cv2.convertScaleAbs(part, part, 1.0 - alpha, value * alpha)


def _paint_divider(painter: QPainter, place: Placement, divider: float, ratio: float) -> None:
    x = round(place.to_device(divider * place.frame[0], 0)[0])
    _, top, _, height = place.rect(0, 0, *place.frame)
    top, bottom = max(0, top), min(place.canvas[1], top + height)
    half = max(1, round(ratio))
    white = QColor(255, 255, 255)
    painter.fillRect(QRect(x - half, top, 2 * half, bottom - top), white)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(white)
    middle, radius = (top + bottom) / 2, 13 * ratio
    painter.drawEllipse(QPointF(x, middle), radius, radius)
    painter.setPen(QPen(_HANDLE, 1.8 * ratio, cap=Qt.PenCapStyle.RoundCap))
    for side in (-1, 1):
        tip, base, rise = x + side * 8 * ratio, x + side * 4 * ratio, 4 * ratio
        painter.drawLine(QLineF(base, middle - rise, tip, middle))
        painter.drawLine(QLineF(tip, middle, base, middle + rise))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)


def render(result: Result, palette: NDArray[np.uint8], look: Look) -> NDArray[np.uint8]:
    """The picture as the window shows it, at the size of the frame and in its pixels, square or not.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    height, width = result.labels.shape
    place = geometry.fit((width, height), (width, height))
    image = QImage(width, height, QImage.Format.Format_RGB32)
    painter = QPainter(image)
    ratio = max(1.0, height / 1080)
    Canvas(compose(look.request(result, palette, place, ratio))).paint(painter, place, look, ratio)
    painter.end()
    bits = image.constBits()
    if bits is None:
        raise MemoryError(f"there is no memory for a picture of {width}x{height}")
    pixels = np.frombuffer(bits.asstring(image.sizeInBytes()), dtype=np.uint8).reshape(
        height, width, 4
    )  # B, G, R, unused
    return np.ascontiguousarray(pixels[..., 2::-1])


def _image(pixels: NDArray[np.uint8] | None) -> QImage | None:
    """Show an array as an image without a copy; `Canvas` keeps the array alive as long as the image is shown."""
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    return QImage(pixels.data, width, height, pixels.strides[0], QImage.Format.Format_RGB32)  # type: ignore[call-overload]


def _blit(painter: QPainter, target: QRect, image: QImage | None) -> None:
    if image is None:
        return
    if (image.width(), image.height()) == (target.width(), target.height()):
        painter.drawImage(target.topLeft(), image)
    else:  # for the moment between a zoom and its picture
        painter.drawImage(QRectF(target), image)
