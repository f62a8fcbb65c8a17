"""The window: puts the parts together, shows the state in them, and turns keys and clicks into actions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QByteArray, QEvent, QObject, QPoint, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import (
    QCloseEvent,
    QColor,
    QDragEnterEvent,
    QDropEvent,
    QKeyEvent,
    QKeySequence,
    QResizeEvent,
    QShortcut,
)
from PyQt6.QtWidgets import QApplication, QHBoxLayout, QMainWindow, QStackedWidget, QVBoxLayout, QWidget

from segstream.frames import Result
from segstream.sources import SourceOptions
from segstream.ui import store, theme
from segstream.ui.actions import Actions
from segstream.ui.bridge import Bridge
from segstream.ui.colours import palette_for, palette_names, palette_of
from segstream.ui.compose import look_of
from segstream.ui.fullscreen import FullScreen
from segstream.ui.keys import KEYS
from segstream.ui.measurements import Measurements
from segstream.ui.menu import make_menu
from segstream.ui.overlays import ClassChip, Message, Statistics
from segstream.ui.picture import PictureView
from segstream.ui.player import Player
from segstream.ui.side import SidePanel
from segstream.ui.state import EMPTY, FAILED, OPENING, PLAYING, ViewerState
from segstream.ui.transport import Transport, live_text
from segstream.ui.welcome import Welcome
from segstream.ui.widgets import is_override, wants_key

_POLL_MS = 100  # the player's state
_DRAW_MS = 200  # plots and shares; a plot that moves faster cannot be read and costs as much as the picture
_LOOK = frozenset(("view", "alpha", "grid", "divider", "hidden"))


class Window(QMainWindow):
    """The viewer.

    Args:
        state: what it starts with.
        player: plays what is opened; the window closes it.
        bridge: what the player reports to.
        folder: where settings are kept; None for the user's own folder.
        models: names of the models on offer.
    """

    _stopped = pyqtSignal()

    def __init__(
        self,
        state: ViewerState,
        player: Player,
        bridge: Bridge,
        folder: Path | None = None,
        models: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.setWindowTitle("segstream")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAcceptDrops(True)
        self.state, self.player, self.bridge = state, player, bridge
        self.measurements = Measurements()
        self._folder = folder
        self.closed, self.closed_in_time = False, True
        self.picture = PictureView(bridge)
        self.picture.palette_of = lambda result: palette_for(result, self.state.settings.palette)
        self.welcome, self.transport, self.side = Welcome(), Transport(), SidePanel()
        self.side.controls.set_models(models or [])
        self.side.controls.set_palettes(palette_names())
        self.stack = QStackedWidget()
        self.stack.addWidget(self.welcome)
        self.stack.addWidget(self.picture)
        self.message = Message(self.stack)
        self.statistics, self.chip = Statistics(self.picture), ClassChip(self.picture)
        self.actions_ = Actions(self)
        self._arrange()
        self._connect()
        self._bind_keys()
        self._apply_theme()
        self._show_all()
        self.resize(1280, 800)
        if state.settings.geometry:
            self.restoreGeometry(QByteArray.fromBase64(state.settings.geometry.encode()))

    def _arrange(self) -> None:
        left = QVBoxLayout()
        self.full_screen = FullScreen(self.stack, self.transport, left)
        left.setContentsMargins(0, 0, 0, 0)
        left.setSpacing(0)
        left.addWidget(self.stack, 1)
        left.addWidget(self.transport)
        body = QWidget()
        body.setObjectName("page")
        row = QHBoxLayout(body)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        row.addLayout(left, 1)
        row.addWidget(self.side)
        self.setCentralWidget(body)
        self.setMinimumSize(760, 480)

    def _connect(self) -> None:
        state, run = self.state, self.actions_.run
        self.bridge.results.arrived.connect(self._take_result)
        self.bridge.playback.connect(lambda changes: state.play(**changes))
        self.bridge.settings.connect(lambda changes: state.set(**changes))
        self.bridge.said.connect(state.say)
        self.picture.hovered.connect(self.chip.show_class)
        self.picture.divider_moved.connect(lambda part: state.set(divider=part))
        self.picture.double_clicked.connect(lambda: run("fullscreen"))
        self.picture.stirred.connect(self.full_screen.stir)
        self.picture.menu_wanted.connect(lambda at: make_menu(self).popup(at))
        self.transport.menu.clicked.connect(self._open_menu)
        self.picture.shown.connect(self._note_latency)
        self.welcome.action.connect(run)
        self.welcome.opened.connect(self.open)
        self.transport.action.connect(run)
        self.transport.sought.connect(self.player.seek)
        self.transport.changed.connect(self._change)
        self.side.controls.changed.connect(self._change)
        self.side.controls.model_wanted.connect(lambda: run("open_model"))
        self.side.legend.toggled.connect(state.toggle_class)
        self._stopped.connect(self.close, Qt.ConnectionType.QueuedConnection)  # type: ignore[call-arg]
        state.subscribe(self._state_changed)
        self._poll_timer = QTimer(self)
        self._poll_timer.timeout.connect(self.refresh_playback)
        self._poll_timer.start(_POLL_MS)
        self._draw_timer = QTimer(self)
        self._draw_timer.timeout.connect(self.draw_figures)
        self._draw_timer.start(_DRAW_MS)

    def _bind_keys(self) -> None:
        for key in KEYS:
            for sequence in key.keys:
                shortcut = QShortcut(QKeySequence(sequence), self)
                shortcut.setAutoRepeat(key.group == "Playback" and key.action not in ("play_pause", "loop"))
                shortcut.activated.connect(lambda action=key.action: self.actions_.run(action))
        application = QApplication.instance()
        if application is not None:
            application.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Leave keys that the focused widget needs to that widget."""
        if is_override(event) and isinstance(event, QKeyEvent) and wants_key(self.focusWidget(), event):
            event.accept()
            return True
        return super().eventFilter(watched, event)

    # What happens

    def open(self, spec: str, options: SourceOptions | None = None) -> None:
        """Open a source in place of the present one; `options` None are those of the command line."""
        self.actions_.stop_recording()
        self.measurements.clear()
        self.picture.show_result(None)
        self.state.say("")
        self.state.remember(spec)
        self.player.open(spec, options)
        self.bridge.results.take()  # of the source before, of which no more come
        self.refresh_playback()

    def close_source(self) -> None:
        """Back to the first page."""
        self.player.close_source()
        self.bridge.results.take()
        self.measurements.clear()
        self.picture.show_result(None)
        self.state.say("")
        self.refresh_playback()

    def _open_menu(self) -> None:
        menu, button = make_menu(self), self.transport.menu
        menu.popup(button.mapToGlobal(QPoint(button.width() - menu.sizeHint().width(), -menu.sizeHint().height())))

    def _change(self, name: str, value: Any) -> None:
        self.state.set(**{name: value})

    def _take_result(self) -> None:
        result = self.bridge.results.take()
        if not isinstance(result, Result):
            return
        if self.picture.result is None:
            self.refresh_playback()  # the shape of its pixels, before it is shown
        if self.state.playback.status != PLAYING:
            self.measurements.forget_rate()
        self.measurements.add(result, time.monotonic())
        self.picture.show_result(result)
        self.state.play(position=result.pts_seconds or 0.0, dropped=result.dropped)

    def _note_latency(self, result: Result) -> None:
        if self.state.playback.source.live and result.frame.captured_at:
            self.player.latency_ms = 1000 * (time.monotonic() - result.frame.captured_at)

    def refresh_playback(self) -> None:
        """Ask the player where it stands."""
        self.state.play(**self.player.poll())

    def draw_figures(self) -> None:
        """Bring plots, shares and statistics up to date."""
        result = self.picture.result
        if self.side.isVisible():
            self.side.cost.draw(self.measurements)
            if result is not None:
                self.side.legend.set_shares(result.class_shares())
        if self.statistics.wanted and result is not None:
            self.statistics.show_lines(self._statistics(result))

    def _statistics(self, result: Result) -> list[tuple[str, str]]:
        height, width = result.labels.shape
        last, playback = self.measurements.last, self.state.playback
        lines = [
            ("source", f"{playback.source.name}  {width}x{height}"),
            ("frame", f"{result.index} at {result.pts_seconds or 0.0:.3f} s"),
            ("model", f"{result.model}, {result.policy} policy"),
            ("engine", result.engine),
            ("blocks", f"{result.blocks.shape[1]}x{result.blocks.shape[0]}, {100 * result.high_share:.0f} % high"),
            ("GMAC", f"{result.gmacs:.2f} of {result.dense_gmacs:.2f}"),
            ("rate", f"{last.fps:.1f} FPS" if last else ""),
        ]
        lines += [(name, f"{value:.1f} ms") for name, value in result.timings.items()]
        lines += [("painting", f"{self.picture.paint_ms:.1f} ms of the window's thread")]
        if playback.source.live:
            lines += [("live", live_text(playback))]
        return lines

    # Showing the state

    def _state_changed(self, names: frozenset[str]) -> None:
        settings = self.state.settings
        if names & _LOOK:
            self._show_look()
        if names & {"palette", "network", "hidden"}:
            self._show_classes()
        if "palette" in names:
            self.picture.recompose()
        if "theme" in names:
            self._apply_theme()
        if "panel" in names:
            self._show_side()
        if "recent" in names:
            self._show_recent()
        if "message" in names:
            self.message.say(self.state.message, self.state.message_kind)
        if names & set(settings.__dataclass_fields__):
            self.player.configure(settings)
            self.transport.show_settings(settings)
        if "source" in names:
            self.picture.set_aspect(self.state.playback.source.pixel_aspect)
        if names & {"status", "source", "busy"}:
            self._show_page()
        if names & set(self.state.playback.__dataclass_fields__):
            self.transport.show_playback(self.state.playback)
        if names != {"position"}:
            self.side.controls.show_settings(settings, self.state.playback)

    def _show_all(self) -> None:
        settings, playback = self.state.settings, self.state.playback
        self._show_look()
        self._show_classes()
        self._show_recent()
        self._show_page()
        self.transport.show_settings(settings)
        self.transport.show_playback(playback)
        self.side.controls.show_settings(settings, playback)
        self.player.configure(settings)

    def _show_look(self) -> None:
        settings = self.state.settings
        self.picture.set_look(look_of(settings))
        self.side.legend.set_grid_note(settings.grid, settings.view != "mask")

    def _show_classes(self) -> None:
        network, settings = self.state.playback.network, self.state.settings
        palette = palette_of(settings.palette, network.classes, network.colours)
        self.side.legend.set_classes(network.classes, palette, settings.hidden)

    def _show_recent(self) -> None:
        self.welcome.set_recent(self.state.settings.recent, self.actions_.name_of)

    def _show_page(self) -> None:
        """The welcome page until there is a picture; it stays where a source could not be opened."""
        playback = self.state.playback
        empty = playback.status == EMPTY or (playback.status == FAILED and self.picture.result is None)
        note = f"Opening {playback.source.name}…" if playback.status == OPENING else f"{playback.busy or 'One moment'}…"
        self.picture.set_note(note)
        self.stack.setCurrentWidget(self.welcome if empty else self.picture)
        self.message.raise_()  # the page that comes up would cover it
        self.full_screen.place()
        self.transport.setVisible(not empty and not self.full_screen.resting)
        self._show_side()
        self.setWindowTitle(
            f"{playback.source.name} – segstream" if playback.source.name and not empty else "segstream"
        )

    def _show_side(self) -> None:
        """The side panel has nothing to say beside the welcome page, and would take from a full screen."""
        watching = self.stack.currentWidget() is self.picture
        self.side.setVisible(self.state.settings.panel and watching and not self.isFullScreen())

    def _apply_theme(self) -> None:
        colours = theme.apply(self, self.state.settings.theme)
        self.picture.background = QColor(colours.canvas)
        for part in (self.welcome, self.transport, self.side):
            part.set_theme(colours)
        self.message.close_button.set_theme(colours)
        self.picture.update()

    # The window itself

    def toggle_full_screen(self) -> None:
        """Fill the screen with the picture, or come back."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def changeEvent(self, event: QEvent | None) -> None:
        """The window manager, too, can bring a window to full screen and back."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.WindowStateChange:
            self.full_screen.set_active(self.isFullScreen())
            self._show_page()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        self.full_screen.place()
        if self.message.isVisible():
            self.message.place()

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        data = event.mimeData() if event is not None else None
        if event is not None and data is not None and data.urls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        data = event.mimeData() if event is not None else None
        urls = data.urls() if data is not None else []
        if urls:
            self.open(urls[0].toLocalFile() if urls[0].isLocalFile() else urls[0].toString())

    def stop(self) -> None:
        """Close as the button does, soon; from any thread, and while a lock is held here, as signals come."""
        if not self.closed:
            self._stopped.emit()

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """End every thread, then go. The window is gone at once, whatever a thread is in."""
        self.closed = True
        self.hide()
        self._poll_timer.stop()
        self._draw_timer.stop()
        application = QApplication.instance()
        if application is not None:
            application.removeEventFilter(self)
        self.bridge.close()
        self.closed_in_time = self.player.close()
        self.closed_in_time &= self.picture.close_threads()
        self.picture.show_result(None)
        if not self.isFullScreen():
            self.state.set(geometry=bytes(self.saveGeometry().toBase64().data()).decode())
        store.save(self.state.settings, self._folder)
        super().closeEvent(event)
