"""What lies over the picture for a while: messages, statistics, the keys."""

from __future__ import annotations

from PyQt6.QtCore import QEvent, QObject, QPoint, Qt, QTimer
from PyQt6.QtGui import QColor, QKeyEvent
from PyQt6.QtWidgets import QDialog, QFrame, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from segstream.ui.keys import GROUPS, KEYS, key_of
from segstream.ui.widgets import IconButton, Swatch, label

_NOTE_MS = 4000
_MARGIN = 16


class Message(QFrame):
    """One sentence at the foot of the picture. A note goes by itself, an error stays until it is closed."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("message")
        self.text = QLabel("")
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.close_button = IconButton("close", "Close this message")
        self.close_button.clicked.connect(self.hide)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(14, 6, 6, 6)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignTop)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.hide)
        parent.installEventFilter(self)
        self.hide()

    def say(self, text: str, kind: str) -> None:
        """Show a sentence of kind "note" or "error"; an empty one hides it."""
        self._timer.stop()
        if not text:
            self.hide()
            return
        self.text.setText(text)
        self.setProperty("kind", kind)
        style = self.style()
        if style is not None:
            style.unpolish(self)
            style.polish(self)
        self.place()
        self.show()
        self.raise_()
        if kind == "note":
            self._timer.start(_NOTE_MS)

    def place(self) -> None:
        """Lie at the foot of the parent, as wide as the sentence needs."""
        parent = self.parentWidget()
        if parent is None:
            return
        room = max(240, parent.width() - 2 * _MARGIN)
        needed = self.text.fontMetrics().horizontalAdvance(self.text.text()) + 80
        width = min(room, needed, 760)
        self.setFixedWidth(width)
        self.setFixedHeight(max(44, self.text.heightForWidth(width - 62) + 22))
        self.move((parent.width() - width) // 2, parent.height() - self.height() - _MARGIN)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.Resize and self.isVisible():
            self.place()
        return super().eventFilter(watched, event)


class Statistics(QLabel):
    """Figures over the picture, as players show them on `i`."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setStyleSheet(
            "background: rgba(0, 0, 0, 170); color: #f2f4f8; border-radius: 8px; padding: 10px 14px;"
            "font-family: monospace; font-size: 12px;"
        )
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.move(_MARGIN, _MARGIN)
        self.wanted = False
        self.hide()

    def toggle(self) -> None:
        """Show the figures as soon as there are some, or hide them."""
        self.wanted = not self.wanted
        self.hide()

    def show_lines(self, lines: list[tuple[str, str]]) -> None:
        """Show name and value pairs."""
        width = max((len(name) for name, _ in lines), default=0)
        self.setText("\n".join(f"{name:<{width}}  {value}" for name, value in lines))
        self.adjustSize()
        self.show()


class ClassChip(QFrame):
    """The class under the cursor, by colour and name, beside the cursor."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("chip")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.swatch, self.name = Swatch(), QLabel("")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(9, 5, 11, 5)
        layout.addWidget(self.swatch)
        layout.addWidget(self.name)
        self.hide()

    def show_class(self, name: str, colour: tuple[int, ...], position: QPoint) -> None:
        """Show a class at a position of the parent; an empty name hides it."""
        parent = self.parentWidget()
        if not name or parent is None:
            self.hide()
            return
        self.swatch.set_colour(QColor(*colour))
        self.name.setText(name)
        self.adjustSize()
        x = position.x() + 18 if position.x() + 26 + self.width() < parent.width() else position.x() - 12 - self.width()
        y = min(position.y() + 18, parent.height() - self.height() - 8)
        self.move(x, y)
        self.show()


class KeysDialog(QDialog):
    """Every key there is; the key that showed it takes it away again."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys")
        columns = QHBoxLayout(self)
        columns.setContentsMargins(28, 22, 28, 26)
        columns.setSpacing(40)
        sides = [QVBoxLayout(), QVBoxLayout()]
        for side in sides:
            side.setSpacing(8)
            columns.addLayout(side)
        for i, group in enumerate(GROUPS):
            side = sides[i % 2]
            side.addWidget(label(group.upper(), "heading"))
            grid = QGridLayout()
            grid.setHorizontalSpacing(18)
            grid.setVerticalSpacing(5)
            grid.setColumnMinimumWidth(0, 92)
            grid.setColumnStretch(1, 1)
            for row, key in enumerate(item for item in KEYS if item.group == group):
                cap = QLabel(key_of(key.action))
                cap.setAlignment(Qt.AlignmentFlag.AlignCenter)
                cap.setObjectName("message")
                cap.setContentsMargins(8, 2, 8, 2)
                grid.addWidget(cap, row, 0)
                grid.addWidget(QLabel(key.text), row, 1)
            side.addLayout(grid)
            side.addSpacing(10)
        for side in sides:
            side.addStretch()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        if event is not None and event.key() in (Qt.Key.Key_Question, Qt.Key.Key_F1):
            self.hide()
        else:
            super().keyPressEvent(event)
