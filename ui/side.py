"""The side panel: what it costs, what is seen, what is set."""

from __future__ import annotations

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from segstream.ui.controls import Controls
from segstream.ui.legend import Legend
from segstream.ui.plots import CostPanel
from segstream.ui.theme import Theme
from segstream.ui.widgets import label

WIDTH = 340


class SidePanel(QFrame):
    """Cost, classes and controls in a column that scrolls where the window is low."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("side")
        self.setFixedWidth(WIDTH)
        self.cost, self.legend, self.controls = CostPanel(), Legend(), Controls()
        body = QWidget()
        body.setObjectName("sideBody")
        layout = QVBoxLayout(body)
        layout.setContentsMargins(2, 12, 12, 10)
        layout.setSpacing(9)
        layout.addWidget(self.cost)
        for title, widget in (("CLASSES", self.legend), ("NETWORK", self.controls)):
            head = QHBoxLayout()
            head.addWidget(label(title, "heading"))
            head.addStretch()
            if widget is self.controls:
                head.addWidget(self.controls.engine)
            layout.addLayout(head)
            layout.addWidget(widget)
        layout.addStretch()
        scroll = QScrollArea()
        scroll.setWidget(body)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self.cost.set_theme(theme)
        self.legend.set_theme(theme)
