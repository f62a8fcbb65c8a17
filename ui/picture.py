"""The picture: shows what the painter's thread made, and draws what must follow the hand at once.

The blocks, the divider and the position under zoom and pan are drawn here, from numbers; the pixels come from
`segstream.ui.compose` at the size they are shown in, so that this thread only copies them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import QEvent, QLineF, QPointF, QRect, QRectF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import (
    QColor,
    QEnterEvent,
    QImage,
    QMouseEvent,
    QNativeGestureEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QWheelEvent,
)
from PyQt6.QtWidgets import QWidget

from segstream.frames import Result
from segstream.ui import geometry
from segstream.ui.bridge import Bridge
from segstream.ui.compose import Picture, Request, compose
from segstream.ui.geometry import Placement
from segstream.ui.newest import NewestWorker

_GRAB = 8  # logical pixels around the divider in which the mouse takes it
_LOW_SHADE = QColor(0, 0, 0, 84)
_LINE = QColor(255, 255, 255, 230)
_LINE_SHADOW = QColor(0, 0, 0, 110)


class PictureView(QWidget):
    """Shows results.

    Signals:
        hovered: name and RGB of the class under the cursor, or "" and ().
        divider_moved: 0..1 of the frame's width.
        shown: the result that has just been painted for the first time, for latency.
    """

    hovered = pyqtSignal(str, tuple)
    divider_moved = pyqtSignal(float)
    shown = pyqtSignal(object)
    double_clicked = pyqtSignal()

    def __init__(self, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(320, 180)
        self.setAccessibleName("Picture")
        self.background = QColor("#08090c")
        self.palette_of: Callable[[Result], NDArray[np.uint8]] = lambda result: result.palette
        self._result: Result | None = None
        self._picture: Picture | None = None
        self._images: tuple[QImage | None, QImage | None] = (None, None)
        self._place: Placement | None = None
        self._view, self._alpha, self._grid, self._divider = "overlay", 0.5, True, 0.5
        self._hidden: frozenset[str] = frozenset()
        self._lines: NDArray[np.int64] = np.zeros((0, 4), dtype=np.int64)
        self._low: list[tuple[int, int, int]] = []
        self._drag: QPointF | None = None
        self._dragging_divider = False
        self._unseen = False
        self.paint_ms: float = 0.0  # the last paint, for the benchmark and the tests
        self._bridge = bridge
        bridge.pictures.arrived.connect(self._take_picture)
        self._painter_thread: NewestWorker[Request] = NewestWorker(
            "segstream-painter",
            lambda request: bridge.put_picture(compose(request)),
            lambda error: bridge.say(f"The picture could not be drawn ({error}); choose another view.", "error"),
        )

    # What is shown

    @property
    def result(self) -> Result | None:
        return self._result

    @property
    def place(self) -> Placement | None:
        return self._place

    def show_result(self, result: Result | None) -> None:
        """Show a result as soon as it is composed; None empties the picture."""
        self._result = result
        if result is None:
            self._picture, self._images, self._place = None, (None, None), None
            self.update()
            return
        height, width = result.labels.shape
        canvas = self._canvas()
        if self._place is None:
            self._place = geometry.fit((width, height), canvas)
        elif self._place.frame != (width, height) or self._place.canvas != canvas:
            self._place = geometry.moved(self._place, (width, height), canvas)
        self._unseen = True
        self._recompose()

    def set_look(self, view: str, alpha: float, grid: bool, divider: float, hidden: frozenset[str]) -> None:
        """Change how results are shown."""
        recompose = (view, alpha, hidden) != (self._view, self._alpha, self._hidden)
        self._view, self._alpha, self._grid, self._divider, self._hidden = view, alpha, grid, divider, hidden
        if recompose:
            self._recompose()
        self.update()

    def recompose(self) -> None:
        """Make the picture again, after a change of palette."""
        self._recompose()

    def zoom(self, factor: float) -> None:
        """Zoom around the middle; 0 fits the whole frame."""
        if self._place is None:
            return
        if factor == 0:
            self._set_place(geometry.fit(self._place.frame, self._place.canvas))
        else:
            middle = (self._place.canvas[0] / 2, self._place.canvas[1] / 2)
            self._set_place(geometry.zoomed(self._place, factor, middle))

    def class_at(self, position: QPointF) -> tuple[str, tuple[int, int, int]] | None:
        """Name and colour of the class at a position of the widget, or None beside the frame."""
        if self._result is None or self._place is None:
            return None
        ratio = self.devicePixelRatioF()
        x, y = (int(np.floor(v)) for v in self._place.to_frame(position.x() * ratio, position.y() * ratio))
        height, width = self._result.labels.shape
        if not (0 <= x < width and 0 <= y < height):
            return None
        index = int(self._result.labels[y, x])
        if index >= len(self._result.classes):
            return None
        red, green, blue = (int(v) for v in self.palette_of(self._result)[index])
        return self._result.classes[index], (red, green, blue)

    def close_threads(self) -> bool:
        """End the painter's thread; true when it ended in time."""
        return self._painter_thread.close()

    def sizeHint(self) -> QSize:
        return QSize(960, 540)

    # Making and taking pictures

    def _canvas(self) -> tuple[int, int]:
        ratio = self.devicePixelRatioF()
        return max(1, round(self.width() * ratio)), max(1, round(self.height() * ratio))

    def _set_place(self, place: Placement) -> None:
        self._place = place
        self._recompose()
        self.update()

    def _recompose(self) -> None:
        if self._result is None or self._place is None:
            return
        hidden = frozenset(i for i, name in enumerate(self._result.classes) if name in self._hidden)
        palette = self.palette_of(self._result)
        self._painter_thread.submit(Request(self._result, palette, hidden, self._view, self._alpha, self._place))

    def _take_picture(self) -> None:
        picture = self._bridge.pictures.take()
        if picture is None or self._result is None:
            return
        result = picture.request.result
        if self._picture is None or self._picture.request.result is not result:
            self._lines = geometry.grid_lines(result.blocks)
            self._low = geometry.low_runs(result.blocks)
        self._picture = picture
        self._images = (_image(picture.source), _image(picture.painted))
        self.update()

    # Painting

    def paintEvent(self, event: QPaintEvent | None) -> None:
        start = time.perf_counter()
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.background)
        if self._picture is not None and self._place is not None:
            ratio = self.devicePixelRatioF()
            painter.scale(1 / ratio, 1 / ratio)  # device pixels from here
            self._paint_pixels(painter, self._picture, self._place)
            if self._grid:
                self._paint_grid(painter, self._picture.request.result, self._place, ratio)
            if self._view == "split":
                self._paint_divider(painter, self._place, ratio)
        painter.end()
        self.paint_ms = (time.perf_counter() - start) * 1000
        if self._unseen and self._picture is not None and self._picture.request.result is self._result:
            self._unseen = False
            self.shown.emit(self._result)

    def _paint_pixels(self, painter: QPainter, picture: Picture, place: Placement) -> None:
        x, y, width, height = place.rect(*picture.crop)
        target = QRect(x, y, width, height)
        source, painted = self._images
        if painted is None or self._view != "split" or source is None:
            _blit(painter, target, painted if painted is not None else source)
            return
        split = round(place.to_device(self._divider * place.frame[0], 0)[0])
        canvas = QRect(0, 0, *place.canvas)
        painter.setClipRect(canvas.adjusted(0, 0, split - canvas.width(), 0))
        _blit(painter, target, source)
        painter.setClipRect(canvas.adjusted(split, 0, 0, 0))
        _blit(painter, target, painted)
        painter.setClipping(False)

    def _paint_grid(self, painter: QPainter, result: Result, place: Placement, ratio: float) -> None:
        """High blocks are outlined, low ones dimmed; both end where the frame ends."""
        block_h, block_w = result.block_px
        width, height = place.frame
        step = np.array([block_w, block_h, block_w, block_h]) * place.scale
        limit = np.array([width, height, width, height]) * place.scale
        origin = np.array([place.x, place.y, place.x, place.y])
        left, top, frame_w, frame_h = place.rect(0, 0, width, height)
        painter.setClipRect(QRect(left, top, frame_w, frame_h).intersected(QRect(0, 0, *place.canvas)))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(_LOW_SHADE)
        low = np.array([(x0, y, x1, y + 1) for y, x0, x1 in self._low], dtype=np.float64).reshape(-1, 4)
        rects = np.rint(origin + np.minimum(low * step, limit)).astype(int)
        if len(rects):
            painter.drawRects([QRect(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in rects.tolist()])
        lines = np.rint(origin + np.minimum(self._lines * step, limit)) + 0.5
        if len(lines):
            segments = [QLineF(*line) for line in lines.tolist()]
            thin = max(1.0, round(ratio))
            for colour, pen_width in ((_LINE_SHADOW, 3 * thin), (_LINE, thin)):
                painter.setPen(QPen(colour, pen_width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.SquareCap))
                painter.drawLines(segments)
        painter.setClipping(False)

    def _paint_divider(self, painter: QPainter, place: Placement, ratio: float) -> None:
        x = round(place.to_device(self._divider * place.frame[0], 0)[0])
        _, top, _, height = place.rect(0, 0, *place.frame)
        top, bottom = max(0, top), min(place.canvas[1], top + height)
        half = round(ratio)
        painter.fillRect(QRect(x - half, top, 2 * half, bottom - top), QColor(255, 255, 255))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(255, 255, 255))
        middle, radius = (top + bottom) / 2, 13 * ratio
        painter.drawEllipse(QPointF(x, middle), radius, radius)
        painter.setPen(QPen(QColor("#1b212b"), 1.8 * ratio, cap=Qt.PenCapStyle.RoundCap))
        for side in (-1, 1):
            tip, base, rise = x + side * 8 * ratio, x + side * 4 * ratio, 4 * ratio
            painter.drawLine(QLineF(base, middle - rise, tip, middle))
            painter.drawLine(QLineF(tip, middle, base, middle + rise))

    # The hand

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        if self._place is not None:
            self._set_place(geometry.moved(self._place, self._place.frame, self._canvas()))

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        if event is None or self._place is None:
            return
        ratio = self.devicePixelRatioF()
        at = (event.position().x() * ratio, event.position().y() * ratio)
        self._set_place(geometry.zoomed(self._place, 1.0015 ** event.angleDelta().y(), at))
        event.accept()

    def event(self, event: QEvent | None) -> bool:
        pinch = Qt.NativeGestureType.ZoomNativeGesture
        if isinstance(event, QNativeGestureEvent) and event.gestureType() == pinch and self._place is not None:
            ratio = self.devicePixelRatioF()
            at = (event.position().x() * ratio, event.position().y() * ratio)
            self._set_place(geometry.zoomed(self._place, 1 + event.value(), at))
            return True
        return super().event(event)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        if event is None or event.button() not in (Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton):
            return
        if event.button() == Qt.MouseButton.LeftButton and self._near_divider(event.position()):
            self._dragging_divider = True
        else:
            self._drag = event.position()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        if event is None or self._place is None:
            return
        ratio = self.devicePixelRatioF()
        if self._dragging_divider:
            x = self._place.to_frame(event.position().x() * ratio, 0)[0] / self._place.frame[0]
            self.divider_moved.emit(min(1.0, max(0.0, x)))
        elif self._drag is not None:
            step = (event.position() - self._drag) * ratio
            self._drag = event.position()
            self._set_place(geometry.panned(self._place, step.x(), step.y()))
        near = self._dragging_divider or self._near_divider(event.position())
        self.setCursor(Qt.CursorShape.SplitHCursor if near else Qt.CursorShape.ArrowCursor)
        self._tell_class(event.position())

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        self._drag, self._dragging_divider = None, False

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        self.double_clicked.emit()

    def enterEvent(self, event: QEnterEvent | None) -> None:
        if event is not None:
            self._tell_class(event.position())

    def leaveEvent(self, event: QEvent | None) -> None:
        self.hovered.emit("", ())

    def _near_divider(self, position: QPointF) -> bool:
        if self._view != "split" or self._place is None:
            return False
        x = self._place.to_device(self._divider * self._place.frame[0], 0)[0] / self.devicePixelRatioF()
        return abs(position.x() - x) <= _GRAB

    def _tell_class(self, position: QPointF) -> None:
        found = self.class_at(position)
        self.hovered.emit(*(found or ("", ())))


def _image(pixels: NDArray[np.uint8] | None) -> QImage | None:
    """Show an array as an image without a copy; `Picture` keeps the array alive as long as the image is shown."""
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
