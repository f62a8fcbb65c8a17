"""Starts the viewer: `segstream run` comes here."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from segstream.interruption import stop_on_signals
from segstream.ui import store
from segstream.ui.memory import limit_heaps
from segstream.ui.state import Settings, ViewerState

if TYPE_CHECKING:
    from PyQt6.QtWidgets import QApplication

    from segstream.config import Settings as Options
    from segstream.ui.engine import Fixed
    from segstream.ui.window import Window


def display_problem() -> str | None:
    """Why no window can open here, in one sentence; None when one can."""
    try:
        import PyQt6.QtWidgets  # noqa: F401
    except ImportError as error:
        return f"The window needs PyQt6, which cannot be loaded ({error}); install it or the system libraries it names."
    if os.environ.get("QT_QPA_PLATFORM"):
        return None
    if sys.platform.startswith("linux"):
        return _linux_display_problem()
    return None


def _linux_display_problem() -> str | None:
    display, wayland = os.environ.get("DISPLAY", ""), os.environ.get("WAYLAND_DISPLAY", "")
    if not display and not wayland:
        return "There is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set), so no window can open."
    if wayland:
        folder = os.environ.get("XDG_RUNTIME_DIR", "")
        if _answers(str(Path(folder) / wayland)):
            return None
        if not display:
            return f"The display {wayland} does not answer, so no window can open."
    host, _, number = display.rpartition(":")
    number = number.partition(".")[0]
    if host in ("", "unix") and number.isdecimal():
        path = f"/tmp/.X11-unix/X{number}"
        if not (_answers(path) or _answers(f"\0{path}")):
            return f"The display {display} does not answer, so no window can open."
        return _missing_library()
    return None


def _missing_library() -> str | None:
    """Qt ends the whole process when its X11 plugin lacks a library, so look before."""
    import ctypes.util

    if ctypes.util.find_library("xcb-cursor") is None:
        return "Qt lacks the system library libxcb-cursor0, so no window can open; apt install libxcb-cursor0 adds it."
    return None


def _answers(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2.0)
            connection.connect(path)
            return True
    except OSError:
        return False


def make_application() -> QApplication:
    """The one QApplication of this process."""
    from PyQt6.QtWidgets import QApplication

    limit_heaps()
    application = QApplication.instance()
    if not isinstance(application, QApplication):
        application = QApplication(sys.argv[:1])
        application.setApplicationName("segstream")
        application.setDesktopFileName("segstream")
    style = application.style()
    if style is None or style.name() != "fusion":  # every setStyle dresses all windows anew
        application.setStyle("Fusion")
    return application


def make_window(
    settings: Settings,
    source_options: Any = None,
    fixed: Fixed | None = None,
    folder: Path | None = None,
) -> Window:
    """A window with everything behind it, not shown yet.

    Args:
        settings: what it starts with.
        source_options: `segstream.sources.SourceOptions` for what is opened.
        fixed: what the window has no control for; None for the defaults.
        folder: where settings are kept; None for the user's own folder.
    """
    from segstream.models import model_names
    from segstream.ui.bridge import Bridge
    from segstream.ui.player import Player
    from segstream.ui.window import Window

    make_application()
    bridge = Bridge()
    player = Player(bridge, source_options, fixed)
    return Window(ViewerState(settings), player, bridge, folder, model_names())


def window_for(options: Options, given: Collection[str] = ()) -> Window:
    """The window that a command line asks for, with the settings of the last time, not shown yet.

    Args:
        options: the parsed command line; see `segstream.config.Settings`.
        given: names of the options that the user gave, rather than their defaults.
    """
    from segstream.ui.engine import Fixed

    settings = merged(store.load(), options, given)
    remembered = "" if "device" in given else settings.device
    fixed = Fixed(options.size, options.block, options.steady, options.borders, remembered)
    return make_window(settings, options.source_options, fixed)


def main(options: Options, given: Collection[str] = ()) -> int:
    """Open the viewer and stay until it is closed.

    Args:
        options: the parsed command line; see `segstream.config.Settings`.
        given: names of the options that the user gave; the others are as they were the last time.

    Returns:
        the exit code: 130 where a signal closed the window.

    Raises:
        DisplayError: no window can open here.
    """
    from segstream.errors import DisplayError

    if problem := display_problem():
        raise DisplayError(problem)
    application = make_application()
    window = window_for(options, given)
    window.show()
    if options.sources:
        window.open(options.sources[0])
        for spec in reversed(options.sources[1:]):
            window.state.remember(spec)
        if len(options.sources) > 1:
            window.state.remember(options.sources[0])
            window.state.say("The window shows one source at a time; the others are in the menu under Recent.")
    if options.stats:
        window.actions_.run("statistics")
    # Ctrl-C in the terminal closes the window as its button does; the window's timer lets Python see the signal.
    with stop_on_signals(window) as state:
        code = application.exec()
    if state.interrupted:
        code = 130
    if not window.closed_in_time:
        leave(code)
    return code


def leave(code: int) -> NoReturn:
    """End the process although a thread is stuck, in a network connection or a very long frame.

    Python would end such a thread in the middle of foreign code, which aborts the process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def merged(remembered: Settings, options: Options, given: Collection[str]) -> Settings:
    """The settings of the last time, and what the user gave over them, be it a default or not."""
    names = ("model", "device", "policy", "threshold", "budget", "target_fps", "view", "alpha", "grid", "palette")
    changes = {name: getattr(options, name) for name in names if name in given}
    if "loop" in given and options.source_options is not None:
        changes["loop"] = options.source_options.loop
    if "policy" in given and "threshold" not in given:
        changes["threshold"] = None  # a threshold means something else for every policy
    return remembered.changed(**changes)
