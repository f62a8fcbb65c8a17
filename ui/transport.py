"""The bar below the picture: where playback stands, and how the picture is shown."""

from __future__ import annotations

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QMouseEvent, QResizeEvent
from PyQt6.QtWidgets import QHBoxLayout, QLabel, QToolTip, QVBoxLayout, QWidget

from segstream.ui.keys import key_of
from segstream.ui.state import ENDED, PLAYING, SPEEDS, Playback, Settings
from segstream.ui.theme import Theme
from segstream.ui.widgets import Combo, IconButton, Segments, Slider, label

_SEEK_STEPS = 10_000
_GAP = 4  # pixels between the parts of the row
_AROUND = 24 + 2 * 8  # margins and the gaps between groups
_LONGEST_DETAIL = 320


def clock(seconds: float | None, tenths: bool = False) -> str:
    """Seconds as people write them: 0:05, 12:34, 1:02:03."""
    if seconds is None:
        return "–:––"
    seconds = max(0.0, seconds)
    whole = int(seconds) if tenths else int(seconds + 0.5)
    hours, minutes = whole // 3600, whole // 60 % 60
    text = f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
    return f"{text}.{int(seconds * 10) % 10}" if tenths else text


class SeekBar(Slider):
    """The position; tells the time under the mouse."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0.0, 1.0, _SEEK_STEPS, parent)
        self.duration = 0.0
        self.setMouseTracking(True)
        self.setAccessibleName("Position")
        self.setSingleStep(_SEEK_STEPS // 100)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        super().mouseMoveEvent(event)
        if event is not None and self.duration:
            part = min(1.0, max(0.0, event.position().x() / max(1, self.width())))
            QToolTip.showText(event.globalPosition().toPoint(), clock(part * self.duration), self)


class Transport(QWidget):
    """Seek bar, buttons, state of a live source, view.

    Signals: `action` carries the name of an action in `segstream.ui.keys`, `sought` seconds, `changed` a setting's
    name and value.
    """

    action = pyqtSignal(str)
    sought = pyqtSignal(float)
    changed = pyqtSignal(str, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("bar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.seek = SeekBar()
        self.seek.moved.connect(lambda part: self.sought.emit(part * self.seek.duration))
        self.play = self._button("play", "Play or pause", "play_pause")
        self.back = self._button("step_back", "One frame back", "step_back")
        self.forward = self._button("step_forward", "One frame on", "step_forward")
        self.loop = self._button("loop", "Loop", "loop", checkable=True)
        self.record = self._button("record", "Record or stop", "record")
        self.shot = self._button("screenshot", "Save a screenshot", "screenshot")
        self.grid = self._button("grid", "Block grid", "grid", checkable=True)
        self.panel = self._button("panel", "Side panel", "panel", checkable=True)
        self.full = self._button("fullscreen", "Full screen", "fullscreen")
        self.menu = IconButton("menu", "Open, save and more")
        self.buttons = [self.play, self.back, self.forward, self.loop, self.record, self.shot]
        self.buttons += [self.grid, self.panel, self.full, self.menu]
        self.time = QLabel("")
        self.time.setAccessibleName("Time")
        self.live = label("", "live")
        self.live_detail = label("", "dim")
        self.speed = Combo()
        self.speed.setAccessibleName("Speed")
        self.speed.setToolTip(f"Speed ({key_of('slower')} slower, {key_of('faster')} faster)")
        self.speed.setFixedWidth(70)
        self.speed.set_items([(f"{s:g}×", f"{s:g}") for s in SPEEDS])
        self.speed.chosen.connect(lambda value: self.changed.emit("speed", float(value)))
        views = [("Overlay", "overlay"), ("Mask", "mask"), ("Split", "split"), ("Source", "source")]
        self.view = Segments(views)
        self.view.chosen.connect(lambda value: self.changed.emit("view", value))
        self.alpha = Slider(0.0, 1.0)
        self.alpha.setFixedWidth(80)
        self.alpha.setAccessibleName("Opacity")
        self.alpha.setToolTip(f"Opacity of the class colours ({key_of('more_opaque')}, {key_of('less_opaque')})")
        self.alpha.moved.connect(lambda value: self.changed.emit("alpha", value))
        self._arrange()

    def _button(self, icon: str, name: str, action: str, checkable: bool = False) -> IconButton:
        button = IconButton(icon, name, key_of(action), checkable)
        button.clicked.connect(lambda: self.action.emit(action))
        return button

    def _arrange(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(_GAP)
        stretch = QWidget()
        groups: tuple[tuple[QWidget, ...], ...] = (
            (self.play, self.back, self.forward, self.time, self.live, self.live_detail),
            (self.speed, self.loop, stretch, self.view, self.alpha, self.grid),
            (self.record, self.shot, self.panel, self.full, self.menu),
        )
        for group in groups:
            for widget in group:
                row.addWidget(widget, 1 if widget is stretch else 0)
            row.addSpacing(0 if group is groups[-1] else 8)
        self._row = [widget for group in groups for widget in group if widget is not stretch]
        self._unwanted: set[QWidget] = set()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 4, 12, 8)
        layout.setSpacing(2)
        layout.addWidget(self.seek)
        layout.addLayout(row)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        self._fit()

    def _want(self, wanted: bool, *widgets: QWidget) -> None:
        """Whether widgets have something to say for the present source."""
        self._unwanted = self._unwanted - set(widgets) if wanted else self._unwanted | set(widgets)

    def _fit(self) -> None:
        """Leave out what there is no room for; all of it is on keys, and most in the menu."""
        shown = [widget for widget in self._row if widget not in self._unwanted]
        room = self.width() - _AROUND - sum(_width(widget) + _GAP for widget in shown)
        first: tuple[QWidget, ...] = (self.panel, self.full, self.shot, self.back, self.forward, self.loop, self.speed)
        last: tuple[QWidget, ...] = (self.alpha, self.live_detail, self.view, self.grid)
        for widget in (*first, *last):
            if room >= 0:
                break
            if widget in shown:
                shown.remove(widget)
                room += _width(widget) + _GAP
        for widget in self._row:
            if widget.isHidden() == (widget in shown):
                widget.setVisible(widget in shown)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        for button in self.buttons:
            button.set_theme(theme)

    def show_settings(self, settings: Settings) -> None:
        """Show what is set."""
        self.view.set_value(settings.view)
        self.alpha.set_number(settings.alpha)
        self.alpha.setEnabled(settings.view in ("overlay", "split"))
        self.grid.setChecked(settings.grid)
        self.loop.setChecked(settings.loop)
        self.panel.setChecked(settings.panel)
        self.speed.set_value(f"{settings.speed:g}")

    def show_playback(self, playback: Playback) -> None:
        """Show where playback stands."""
        live, duration = playback.source.live, playback.source.duration
        self.play.set_icon({PLAYING: "pause", ENDED: "restart"}.get(playback.status, "play"))
        self.play.setEnabled(playback.can_pause)
        self.seek.setVisible(not live)
        self.seek.setEnabled(playback.can_seek and bool(duration))
        self._want(not live, self.back, self.forward, self.loop, self.speed)
        self.back.setEnabled(playback.can_seek)
        self.forward.setEnabled(playback.can_pause)
        self.seek.duration = duration or 0.0
        self.seek.set_number(playback.position / duration if duration else 0.0)
        self._want(not live and playback.can_pause, self.time)
        whole = f" / {clock(duration)}" if duration else ""
        self.time.setText(f"{clock(playback.position, tenths=playback.status != PLAYING)}{whole}")
        self._want(live, self.live, self.live_detail)
        if live:
            self.live.setText("● LIVE" if playback.connection == "connected" else playback.connection.capitalize())
            text = live_text(playback)
            elided = self.live_detail.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, _LONGEST_DETAIL)
            self.live_detail.setText(elided)
            self.live_detail.setToolTip(playback.detail)
        self.record.set_icon("stop" if playback.recording else "record", "bad")
        self.record.setEnabled(playback.can_pause or bool(playback.recording))
        self.shot.setEnabled(playback.can_pause)
        self._fit()


def _width(widget: QWidget) -> int:
    return min(max(widget.sizeHint().width(), widget.minimumWidth()), widget.maximumWidth())


def live_text(playback: Playback) -> str:
    """The state of a live source in a few words."""
    if playback.connection != "connected":
        return playback.detail
    if not playback.latency_ms:
        return ""
    dropped = f"{playback.dropped} dropped" if playback.dropped else "none dropped"
    return f"{playback.latency_ms:.0f} ms behind, {dropped}"
