"""The one way from other threads into Qt: newest-wins slots and queued signals."""

from __future__ import annotations

import threading
from typing import Any

from PyQt6.QtCore import QObject, Qt, pyqtSignal

from segstream.frames import Result
from segstream.ui.paint import Canvas


class Slot(QObject):
    """Holds the newest value a thread put in, and tells the window's thread once, however many came.

    `arrived` is emitted in the thread of the window; the receiver calls `take`.
    """

    arrived = pyqtSignal()
    _put = pyqtSignal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lock = threading.Lock()
        self._value: Any = None
        self._closed = False
        self._put.connect(self.arrived, Qt.ConnectionType.QueuedConnection)  # type: ignore[call-arg]

    def put(self, value: Any) -> bool:
        """Hand over a value from any thread; true when it replaced one that nobody has taken."""
        with self._lock:
            overtaken, self._value = self._value is not None, value
            if not overtaken and not self._closed:
                self._put.emit()
        return overtaken

    def take(self) -> Any:
        """The newest value, once; None when there is none."""
        with self._lock:
            value, self._value = self._value, None
        return value

    def close(self) -> None:
        """Tell nobody any more and hold nothing."""
        with self._lock:
            self._closed, self._value = True, None


class Bridge(QObject):
    """What the player's and the painter's threads say, as it reaches the window.

    Signals are queued when they come from another thread. `playback` carries changes of `segstream.ui.state.Playback`
    by name, `settings` those of settings, `said` a sentence and its kind.
    """

    playback = pyqtSignal(dict)
    settings = pyqtSignal(dict)
    said = pyqtSignal(str, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.results = Slot(self)
        self.pictures = Slot(self)
        self._closed = False

    def put_result(self, result: Result) -> None:
        """The newest result, from the player's thread."""
        self.results.put(result)

    def put_picture(self, picture: Canvas) -> None:
        """The newest picture, from the painter's thread."""
        self.pictures.put(picture)

    def put_playback(self, changes: dict[str, Any]) -> None:
        """Changes of playback, in order, from the player's thread."""
        if not self._closed:
            self.playback.emit(changes)

    def put_settings(self, changes: dict[str, Any]) -> None:
        """Changes of settings that the user did not make, from the player's thread."""
        if not self._closed:
            self.settings.emit(changes)

    def say(self, text: str, kind: str = "note") -> None:
        """A sentence to show, from any thread."""
        if not self._closed:
            self.said.emit(text, kind)

    def close(self) -> None:
        """Let nothing more through."""
        self._closed = True
        self.results.close()
        self.pictures.close()
