"""The cost, live: four small plots and the sentence that sums them up."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PyQt6.QtCore import Qt
from PyQt6.QtGui import QColor
from PyQt6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from segstream.ui.measurements import LENGTH, Measurements
from segstream.ui.theme import DARK, Theme

_HEIGHT = 46


class Tile(QFrame):
    """One figure: its name, its present value and its way over the last frames."""

    def __init__(self, title: str, hint: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self.setToolTip(hint)
        self.setAccessibleName(title)
        self.title = QLabel(title)
        self.title.setObjectName("small")
        self.value = QLabel("–")
        self.value.setObjectName("value")
        self.plot = pg.PlotWidget(background=None)
        self.plot.setFixedHeight(_HEIGHT)
        self.plot.setStyleSheet("background: transparent; border: none;")
        self.plot.setAntialiasing(True)
        self.plot.setMenuEnabled(False)
        self.plot.setMouseEnabled(False, False)
        self.plot.hideButtons()
        self.plot.hideAxis("bottom")
        self.plot.hideAxis("left")
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.plot.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.plot.setXRange(0, LENGTH - 1, padding=0)
        self.plot.getPlotItem().setContentsMargins(0, 0, 0, 0)
        head = QHBoxLayout()
        head.addWidget(self.title)
        head.addStretch()
        head.addWidget(self.value)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(9, 5, 9, 6)
        layout.setSpacing(2)
        layout.addLayout(head)
        layout.addWidget(self.plot)
        self.curves: list[pg.PlotDataItem] = []
        self.scale = QLabel("", self.plot)  # what the upper end of the plot stands for
        self.scale.setObjectName("tiny")
        self.scale.move(0, -2)

    def draw(self, series: list[np.ndarray], colours: list[str], top: float, unit: str = "") -> None:
        """Draw curves over each other, the first behind; all up to `top` is in view."""
        top = round_up(top)
        self.scale.setText(f"{top:g}{unit}" if series else "")
        self.scale.adjustSize()
        while len(self.curves) < len(series):
            self.curves.append(self.plot.plot([], []))
        for curve, values, colour in zip(self.curves, series, colours, strict=False):
            x = np.arange(LENGTH - len(values), LENGTH)
            shade = QColor(colour)
            shade.setAlpha(60)
            curve.setPen(pg.mkPen(colour, width=1.5))
            curve.setFillLevel(0)
            curve.setBrush(shade)
            curve.setData(x, values)
        for curve in self.curves[len(series) :]:
            curve.setData([], [])
        self.plot.setYRange(0, top * 1.04, padding=0)


class CostPanel(QWidget):
    """The sentence and the plots."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = DARK
        self._drawn = -1
        self.sentence = QLabel("")
        self.sentence.setObjectName("sentence")
        self.sentence.setWordWrap(True)
        self.sentence.setMinimumHeight(40)
        self.sentence.setAccessibleName("Cost in one sentence")
        self.latency = Tile("Latency", "Milliseconds per frame by stage, stacked")
        self.fps = Tile("Frames per second", "Results shown per second over the last two seconds")
        self.share = Tile("High blocks", "Share of blocks that ran at high resolution")
        self.gmacs = Tile("GMAC", "Multiply-accumulates of this frame; the line is the dense network")
        self.stages = QLabel("")
        self.stages.setObjectName("small")
        self.stages.setTextFormat(Qt.TextFormat.RichText)
        self.stages.setWordWrap(True)
        grid = QGridLayout()
        grid.setSpacing(8)
        for i, tile in enumerate((self.latency, self.fps, self.share, self.gmacs)):
            grid.addWidget(tile, i // 2, i % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.sentence)
        layout.addLayout(grid)
        layout.addWidget(self.stages)
        self._tiles = (self.latency, self.fps, self.share, self.gmacs)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme, self._drawn = theme, -1

    def set_plots_visible(self, visible: bool) -> None:
        """Show the plots, or the sentence alone."""
        for widget in (*self._tiles, self.stages):
            widget.setVisible(visible)

    def draw(self, measurements: Measurements) -> None:
        """Draw what is new."""
        if measurements.version == self._drawn:
            return
        self._drawn = measurements.version
        last = measurements.last
        self.sentence.setText(measurements.sentence().replace(": ", ":\n"))
        if last is None:
            for tile in self._tiles:
                tile.value.setText("–")
                tile.draw([], [], 1.0)
            self.stages.clear()
            return
        theme, colours = self._theme, self._theme.series
        stages = measurements.stages()
        stacked = list(np.cumsum(list(stages.values()), axis=0)) if stages else []
        stage_colours = [colours[i % len(colours)] for i in range(len(stages))]
        # A single hiccup (the first frame, usually) must not flatten the rest.
        top = float(np.percentile(stacked[-1], 97)) if stacked else 1.0
        self.latency.draw(stacked[::-1], stage_colours[::-1], top, " ms")
        self.latency.value.setText(f"{sum(last.timings.values()):.0f} ms")
        self.stages.setText(
            " &nbsp;".join(
                f'<span style="color:{colour}">■</span>&nbsp;{name}&nbsp;{_short(last.timings.get(name, 0.0))}'
                for (name, colour) in zip(stages, stage_colours, strict=True)
            )
        )
        fps = measurements.series("fps")
        self.fps.draw([fps], [theme.live], float(fps.max(initial=1.0)))
        self.fps.value.setText(f"{last.fps:.1f}")
        self.share.draw([100 * measurements.series("high_share")], [theme.accent], 100.0, " %")
        self.share.value.setText(f"{100 * last.high_share:.0f} %")
        dense = measurements.series("dense_gmacs")
        self.gmacs.draw([dense, measurements.series("gmacs")], [theme.dim, colours[1]], float(dense.max(initial=1e-3)))
        self.gmacs.value.setText(f"{last.gmacs:.1f} of {last.dense_gmacs:.1f}")


def round_up(value: float) -> float:
    """The next round number: an axis that keeps still and can be read."""
    step = 10.0 ** np.floor(np.log10(max(value, 1e-3)))
    return float(next(step * part for part in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * part >= value - 1e-9))


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds >= 10 else f"{milliseconds:.1f}"
