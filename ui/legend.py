"""The classes in the picture: colour, name and share; a click hides a class or shows it again."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import QRectF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QPainter, QPaintEvent
from PyQt6.QtWidgets import QAbstractButton, QGridLayout, QLabel, QVBoxLayout, QWidget

from segstream.ui.theme import DARK, Theme

_COLUMNS = 2


class ClassRow(QAbstractButton):
    """One class: a swatch, its name, its share as a number and as a bar below."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name, self.colour, self.share, self.theme = name, QColor(0, 0, 0), 0.0, DARK
        self.setCheckable(True)
        self.setChecked(True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(name)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def sizeHint(self) -> QSize:
        return QSize(120, 20)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        rect = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        painter.setPen(Qt.PenStyle.NoPen)
        if self.underMouse() or self.hasFocus():
            painter.setBrush(QColor(self.theme.hover))
            painter.drawRoundedRect(rect, 5, 5)
        if self.isChecked() and self.share >= 0.005:
            painter.setBrush(self.colour)
            painter.drawRoundedRect(QRectF(rect.x() + 23, rect.bottom() - 2, (rect.width() - 29) * self.share, 2), 1, 1)
        swatch = QRectF(rect.x() + 5, rect.center().y() - 5.5, 11, 11)
        if self.isChecked():
            painter.setBrush(self.colour)
        else:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(self.colour)
        painter.drawRoundedRect(swatch, 3, 3)
        present = self.share > 0 and self.isChecked()
        painter.setPen(QColor(self.theme.text if present else self.theme.dim))
        text = rect.adjusted(23, 0, -6, 0)
        number = f"{100 * self.share:.0f} %" if self.share >= 0.01 else ("<1 %" if self.share > 0 else "")
        painter.drawText(text, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, number)
        room = text.width() - painter.fontMetrics().horizontalAdvance(number) - 6
        name = painter.fontMetrics().elidedText(self.name, Qt.TextElideMode.ElideRight, int(room))
        if not self.isChecked():
            font = painter.font()
            font.setStrikeOut(True)
            painter.setFont(font)
        painter.drawText(text, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, name)
        painter.end()


class Legend(QWidget):
    """All classes of the model. Signal `toggled` carries the name of the class that was clicked."""

    toggled = pyqtSignal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: dict[str, ClassRow] = {}
        self._theme = DARK
        self._classes: tuple[str, ...] = ()
        self._layout = QGridLayout()
        self._layout.setSpacing(0)
        self._layout.setHorizontalSpacing(8)
        self.note = QLabel("")
        self.note.setObjectName("small")
        self.note.setWordWrap(True)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addLayout(self._layout)
        outer.addWidget(self.note)
        self.set_grid_note(True)

    @property
    def rows(self) -> dict[str, ClassRow]:
        return self._rows

    def set_classes(self, classes: tuple[str, ...], palette: NDArray[np.uint8], hidden: frozenset[str]) -> None:
        """List the classes of a model with their colours, palette uint8 [K, 3] RGB."""
        if classes != self._classes:
            self._classes = classes
            for row in self._rows.values():
                self._layout.removeWidget(row)
                row.hide()
                row.deleteLater()
            self._rows = {}
            per_column = -(-len(classes) // _COLUMNS)
            for index, name in enumerate(classes):
                row = self._rows[name] = ClassRow(name, self)
                row.clicked.connect(partial(self.toggled.emit, name))
                self._layout.addWidget(row, index % per_column, index // per_column)
        for index, name in enumerate(classes):
            row = self._rows[name]
            row.colour = QColor(*(int(v) for v in palette[index]))
            row.setChecked(name not in hidden)
        self.set_theme(self._theme)

    def set_shares(self, shares: dict[str, float]) -> None:
        """Show the share of the frame's pixels by class, 0..1."""
        for name, row in self._rows.items():
            share = shares.get(name, 0.0)
            if abs(share - row.share) > 0.0005 or (share > 0) != (row.share > 0):
                row.share = share
                row.setToolTip(
                    f"{name}: {100 * share:.1f} % of the frame. Click to {'hide' if row.isChecked() else 'show'}."
                )
                row.update()

    def set_grid_note(self, grid: bool, dimmed: bool = True) -> None:
        """Say what the grid means."""
        low = "Dimmed: low resolution." if dimmed else "No outline: low resolution."
        self.note.setText(f"White outline: high resolution. {low}" if grid else "The block grid is off (G shows it).")

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        for row in self._rows.values():
            row.theme = theme
            row.update()
