"""Full screen as players have it: the bar lies over the picture and goes with the cursor when the mouse rests."""

from __future__ import annotations

from PyQt6.QtCore import QObject, Qt, QTimer
from PyQt6.QtWidgets import QBoxLayout, QWidget

_REST_MS = 2500


class FullScreen(QObject):
    """Takes the bar out of the window's column and puts it back.

    Args:
        stage: what fills the screen.
        bar: lies at its foot meanwhile.
        column: where the bar is otherwise, below the stage.
    """

    def __init__(self, stage: QWidget, bar: QWidget, column: QBoxLayout) -> None:
        super().__init__(stage)
        self._stage, self._bar, self._column = stage, bar, column
        self.active = False
        self.resting = False  # the mouse has not moved for a while: no bar, no cursor
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self._rest)

    def set_active(self, active: bool) -> None:
        """Go into full screen, or come back."""
        if active == self.active:
            return
        self.active, self.resting = active, False
        if active:
            self._column.removeWidget(self._bar)
            self._bar.setParent(self._stage)
            self.stir()
        else:
            self._timer.stop()
            self._stage.unsetCursor()
            self._column.addWidget(self._bar)
        self._bar.show()
        self.place()

    def place(self) -> None:
        """Lie at the foot of the stage, after it has changed its size."""
        if self.active:
            height = self._bar.sizeHint().height()
            self._bar.setGeometry(0, self._stage.height() - height, self._stage.width(), height)
            self._bar.raise_()

    def stir(self) -> None:
        """The mouse has moved."""
        if not self.active:
            return
        if self.resting:
            self.resting = False
            self._stage.unsetCursor()
            self._bar.show()
            self.place()
        self._timer.start()

    def _rest(self) -> None:
        focused = self._bar.focusWidget()
        if self._bar.underMouse() or (focused is not None and focused.hasFocus()):
            self._timer.start()
            return
        self.resting = True
        self._stage.setCursor(Qt.CursorShape.BlankCursor)
        self._bar.hide()
