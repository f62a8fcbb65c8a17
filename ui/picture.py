"""The picture: shows what the painter's thread made, and draws what must follow the hand at once.

The divider and the position under zoom and pan are drawn here, from numbers; the pixels with the blocks come from a
worker (`segstream.ui.compose`, `segstream.ui.paint`) at the size they are shown in, so that this thread only copies
them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import QEvent, QPoint, QPointF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import (
    QColor,
    QEnterEvent,
    QMouseEvent,
    QNativeGestureEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from PyQt6.QtWidgets import QWidget

from segstream.frames import Result
from segstream.ui import geometry
from segstream.ui.bridge import Bridge
from segstream.ui.compose import Look, Request, compose
from segstream.ui.geometry import Placement
from segstream.ui.newest import NewestWorker
from segstream.ui.paint import Canvas

_GRAB = 8  # logical pixels around the divider in which the mouse takes it


class PictureView(QWidget):
    """Shows results.

    Signals:
        hovered: name, RGB and position of the class under the cursor, or "" and ().
        divider_moved: 0..1 of the frame's width.
        shown: the result that has just been painted for the first time, for latency.
        stirred: the mouse has moved.
        menu_wanted: the right button was pressed at a position of the screen.
    """

    hovered = pyqtSignal(str, tuple, QPoint)
    divider_moved = pyqtSignal(float)
    shown = pyqtSignal(object)
    double_clicked = pyqtSignal()
    stirred = pyqtSignal()
    menu_wanted = pyqtSignal(QPoint)

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
        self._canvas: Canvas | None = None
        self._place: Placement | None = None
        self._aspect = 1.0
        self._look = Look()
        self._note = ""
        self._drag: QPointF | None = None
        self._cursor: QPointF | None = None
        self._dragging_divider = False
        self._unseen = False
        self.paint_ms: float = 0.0  # the last paint, for the benchmark and the tests
        self._bridge = bridge
        bridge.pictures.arrived.connect(self._take_picture)
        self._painter_thread: NewestWorker[Request] = NewestWorker(
            "segstream-painter",
            lambda request: bridge.put_picture(Canvas(compose(request))),
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
            self._canvas, self._place = None, None
            self.update()
            return
        height, width = result.labels.shape
        canvas = self._size()
        if self._place is None:
            self._place = geometry.fit((width, height), canvas, self._aspect)
        elif self._place.frame != (width, height) or self._place.canvas != canvas:
            self._place = geometry.moved(self._place, (width, height), canvas)
        self._unseen = True
        self._recompose()

    def set_aspect(self, aspect: float) -> None:
        """Show frames whose pixels are `aspect` times as wide as high."""
        if aspect == self._aspect:
            return
        self._aspect = aspect
        if self._place is not None:
            self._set_place(geometry.fit(self._place.frame, self._place.canvas, aspect))

    def set_look(self, look: Look) -> None:
        """Change how results are shown."""
        old, self._look = self._look, look
        if replace(look, divider=old.divider) != old:
            self._recompose()
        self.update()

    def set_note(self, text: str) -> None:
        """Words in place of a picture, until there is one."""
        self._note = text
        self.update()

    def recompose(self) -> None:
        """Make the picture again, after a change of palette."""
        self._recompose()

    def zoom(self, factor: float) -> None:
        """Zoom around the middle; 0 fits the whole frame."""
        if self._place is None:
            return
        if factor == 0:
            self._set_place(geometry.fit(self._place.frame, self._place.canvas, self._aspect))
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

    def _size(self) -> tuple[int, int]:
        ratio = self.devicePixelRatioF()
        return max(1, round(self.width() * ratio)), max(1, round(self.height() * ratio))

    def _set_place(self, place: Placement) -> None:
        self._place = place
        self._recompose()
        self.update()

    def _recompose(self) -> None:
        if self._result is None or self._place is None:
            return
        palette, ratio = self.palette_of(self._result), self.devicePixelRatioF()
        self._painter_thread.submit(self._look.request(self._result, palette, self._place, ratio))

    def _take_picture(self) -> None:
        canvas = self._bridge.pictures.take()
        if canvas is not None and self._result is not None:
            self._canvas = canvas
            self.update()

    # Painting

    def paintEvent(self, event: QPaintEvent | None) -> None:
        start = time.perf_counter()
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.background)
        if self._canvas is not None and self._place is not None:
            ratio = self.devicePixelRatioF()
            painter.scale(1 / ratio, 1 / ratio)
            self._canvas.paint(painter, self._place, self._look, ratio)
        elif self._note:
            painter.setPen(QColor("#99a3b3"))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self._note)
        painter.end()
        self.paint_ms = (time.perf_counter() - start) * 1000
        if self._unseen and self._canvas is not None and self._canvas.result is self._result:
            self._unseen = False
            self.shown.emit(self._result)
            if self._cursor is not None:  # what lies under a cursor at rest changes too
                self._tell_class(self._cursor)

    # The hand

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        if self._place is not None:
            self._set_place(geometry.moved(self._place, self._place.frame, self._size()))

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
        if event is not None and event.button() == Qt.MouseButton.RightButton:
            self.menu_wanted.emit(event.globalPosition().toPoint())
        if event is None or event.button() not in (Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton):
            return
        if event.button() == Qt.MouseButton.LeftButton and self._near_divider(event.position()):
            self._dragging_divider = True
        else:
            self._drag = event.position()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        self.stirred.emit()
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
        if near:
            self.setCursor(Qt.CursorShape.SplitHCursor)
        else:
            self.unsetCursor()
        self._tell_class(event.position())

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        self._drag, self._dragging_divider = None, False

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        self.double_clicked.emit()

    def enterEvent(self, event: QEnterEvent | None) -> None:
        if event is not None:
            self._tell_class(event.position())

    def leaveEvent(self, event: QEvent | None) -> None:
        self._cursor = None
        self.hovered.emit("", (), QPoint())

    def _near_divider(self, position: QPointF) -> bool:
        if self._look.view != "split" or self._place is None:
            return False
        x = self._place.to_device(self._look.divider * self._place.frame[0], 0)[0] / self.devicePixelRatioF()
        return abs(position.x() - x) <= _GRAB

    def _tell_class(self, position: QPointF) -> None:
        self._cursor = position
        found = self.class_at(position)
        self.hovered.emit(*(found or ("", ())), position.toPoint())
