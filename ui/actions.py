"""What the keys and buttons of the window do, by the names in `segstream.ui.keys`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PyQt6.QtGui import QImage
from PyQt6.QtWidgets import QApplication

from segstream.sources import redact
from segstream.ui import dialogs, saving
from segstream.ui.overlays import KeysDialog
from segstream.ui.state import THEMES

if TYPE_CHECKING:
    from segstream.ui.window import Window

_ALPHA_STEP = 0.1
_ZOOM_STEP = 1.25


class Actions:
    """The actions of one window."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self._keys: KeysDialog | None = None
        state, player, picture = window.state, window.player, window.picture
        self._table: dict[str, Callable[[], object]] = {
            "play_pause": player.toggle,
            "step_forward": lambda: player.step(1),
            "step_back": lambda: player.step(-1),
            "forward_5": lambda: player.jump(5.0),
            "back_5": lambda: player.jump(-5.0),
            "forward_1": lambda: player.jump(1.0),
            "back_1": lambda: player.jump(-1.0),
            "forward_60": lambda: player.jump(60.0),
            "back_60": lambda: player.jump(-60.0),
            "to_start": lambda: player.seek(0.0),
            "slower": lambda: state.step_speed(-1),
            "faster": lambda: state.step_speed(1),
            "normal_speed": lambda: state.set(speed=1.0),
            "loop": lambda: state.set(loop=not state.settings.loop),
            "view_overlay": lambda: state.set(view="overlay"),
            "view_mask": lambda: state.set(view="mask"),
            "view_split": lambda: state.set(view="split"),
            "view_source": lambda: state.set(view="source"),
            "grid": lambda: state.set(grid=not state.settings.grid),
            "more_opaque": lambda: self._opacity(_ALPHA_STEP),
            "less_opaque": lambda: self._opacity(-_ALPHA_STEP),
            "zoom_in": lambda: picture.zoom(_ZOOM_STEP),
            "zoom_out": lambda: picture.zoom(1 / _ZOOM_STEP),
            "zoom_fit": lambda: picture.zoom(0),
            "screenshot": self.screenshot,
            "copy": self.copy,
            "save_mask": self.save_mask,
            "record": self.record,
            "open": self.open,
            "camera": self.camera,
            "address": self.address,
            "demo": lambda: window.open("demo"),
            "open_model": self.open_model,
            "fullscreen": window.toggle_full_screen,
            "statistics": self.statistics,
            "panel": lambda: state.set(panel=not state.settings.panel),
            "theme": lambda: state.set(theme=THEMES[(THEMES.index(state.settings.theme) + 1) % len(THEMES)]),
            "help": self.help,
            "escape": self.escape,
            "close_source": window.close_source,
            "quit": window.close,
        }

    def run(self, action: str) -> None:
        """Do what an action's name says, and bring the buttons up to date."""
        self._table[action]()
        if not self.window.closed:  # it may have been closed over a question
            self.window.refresh_playback()

    def _opacity(self, step: float) -> None:
        state = self.window.state
        state.set(alpha=min(1.0, max(0.0, round(state.settings.alpha + step, 2))))

    # Opening

    def open(self) -> None:
        """Ask for a file."""
        if path := dialogs.ask_file(self.window, self.window.state.settings.recent):
            self.window.open(path)

    def camera(self) -> None:
        """Ask for a camera and how it should run."""
        found = dialogs.ask_camera(self.window)
        if found is not None:
            spec, options = found
            self.window.open(spec, options)

    def address(self) -> None:
        """Ask for the address of a stream."""
        if text := dialogs.ask_address(self.window):
            self.window.open(text)

    def open_model(self) -> None:
        """Ask for a file with a model."""
        if path := dialogs.ask_model(self.window):
            self.window.state.set(model=path)

    def name_of(self, spec: str) -> str:
        """A source as it may be shown: a file by its name and folder, an address without credentials."""
        if "://" in spec:
            return redact(spec)
        if spec == "demo":
            return "Demo: a drawn street"
        if spec.isdecimal() or spec.startswith("/dev/video"):
            return f"Camera {spec}"
        path = Path(spec)
        return f"{path.name}   {path.parent}" if path.parent != Path(".") else path.name

    # Saving

    def screenshot(self) -> None:
        """Save the picture as it is shown, at the size of the frame."""
        result, state = self.window.picture.result, self.window.state
        if result is not None:
            state.say(*saving.save_picture(result, state.settings, state.playback.source.name))

    def save_mask(self) -> None:
        """Save the classes as a palette PNG."""
        result, state = self.window.picture.result, self.window.state
        if result is not None:
            state.say(*saving.save_mask(result, state.settings, state.playback.source.name))

    def copy(self) -> None:
        """Copy the picture to the clipboard."""
        result, state = self.window.picture.result, self.window.state
        clipboard = QApplication.clipboard()
        if result is None or clipboard is None:
            return
        pixels = saving.picture_of(result, state.settings)
        height, width = pixels.shape[:2]
        image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        clipboard.setImage(image.copy())
        state.say("Copied the frame.")

    def record(self) -> None:
        """Begin to record what is shown, or stop."""
        state = self.window.state
        if state.playback.recording:
            self.stop_recording()
        elif state.playback.can_pause:
            path, problem = saving.new_path("videos", state.playback.source.name, "mp4")
            if path is None:
                state.say(problem, "error")
            else:
                self.window.player.record(str(path))

    def stop_recording(self) -> None:
        """Finish the recording, if there is one."""
        self.window.player.stop_recording()

    # The window

    def statistics(self) -> None:
        """Show or hide the figures over the picture."""
        self.window.statistics.toggle()
        self.window.draw_figures()

    def help(self) -> None:
        """Show or hide the keys."""
        if self._keys is None:
            self._keys = KeysDialog(self.window)
        self._keys.setVisible(not self._keys.isVisible())

    def escape(self) -> None:
        """Leave full screen; take the keys and the message away and give the picture the keyboard."""
        if self._keys is not None:
            self._keys.hide()
        if self.window.isFullScreen():
            self.window.toggle_full_screen()
        self.window.state.say("")
        self.window.picture.setFocus()
