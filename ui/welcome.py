"""The first page: what can be opened."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PyQt6.QtCore import QSize, Qt, pyqtSignal
from PyQt6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from segstream.ui.icons import icon, pixmap
from segstream.ui.keys import key_of
from segstream.ui.theme import Theme
from segstream.ui.widgets import label

_RECENT_SHOWN = 5
_CHOICES = (
    ("open", "Open a file", "open", "primary"),
    ("camera", "Camera", "camera", ""),
    ("address", "Stream address", "address", ""),
    ("demo", "Demo", "demo", ""),
)


class Welcome(QWidget):
    """Signals: `action` carries "open", "camera", "address" or "demo"; `opened` a recent source."""

    action = pyqtSignal(str)
    opened = pyqtSignal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.logo = label("")
        self.logo.setPixmap(pixmap("logo", "", 72))
        self.buttons: dict[str, QPushButton] = {}
        column = QVBoxLayout()
        column.setSpacing(8)
        column.addStretch(3)
        for widget in (
            self.logo,
            label("segstream", "title"),
            label("Watch a road being understood, and see where the computation goes.", "subtitle"),
        ):
            column.addWidget(widget, alignment=Qt.AlignmentFlag.AlignHCenter)
        column.addSpacing(22)
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addStretch()
        for action, text, picture, name in _CHOICES:
            button = QPushButton(f" {text}")
            button.setAccessibleName(text)
            button.setIconSize(QSize(20, 20))
            button.setMinimumHeight(42)
            button.setProperty("picture", picture)
            if name:
                button.setObjectName(name)
            if action != "demo":
                button.setToolTip(f"{text} ({key_of(action)})")
            button.clicked.connect(partial(self.action.emit, action))
            row.addWidget(button)
            self.buttons[action] = button
        row.addStretch()
        column.addLayout(row)
        column.addSpacing(4)
        hint = label("or drop a video, a picture or a folder here", "dim")
        column.addWidget(hint, alignment=Qt.AlignmentFlag.AlignHCenter)
        column.addSpacing(22)
        self._recent_title = label("RECENT", "heading")
        column.addWidget(self._recent_title, alignment=Qt.AlignmentFlag.AlignHCenter)
        self._recent = QVBoxLayout()
        self._recent.setSpacing(0)
        column.addLayout(self._recent)
        column.addStretch(4)
        foot = label(f"{key_of('help')} shows all keys", "small")
        column.addWidget(foot, alignment=Qt.AlignmentFlag.AlignHCenter)
        column.addSpacing(12)
        layout = QHBoxLayout(self)
        layout.addLayout(column)
        self.set_recent(())

    def set_recent(self, recent: tuple[str, ...], name_of: Callable[[str], str] = str) -> None:
        """List sources opened before; `name_of` makes a source fit to show."""
        while (item := self._recent.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self._recent_title.setVisible(bool(recent))
        for spec in recent[:_RECENT_SHOWN]:
            button = QPushButton(name_of(spec))
            button.setObjectName("row")
            button.setMaximumWidth(620)
            button.clicked.connect(partial(self.opened.emit, spec))
            self._recent.addWidget(button, alignment=Qt.AlignmentFlag.AlignHCenter)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        for button in self.buttons.values():
            colour = theme.on_accent if button.objectName() == "primary" else theme.text
            button.setIcon(icon(button.property("picture"), colour))
