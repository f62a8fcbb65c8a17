"""Every key does in the window what the help says, and the keyboard alone is enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QApplication

from segstream.ui import store
from segstream.ui.engine import Fixed
from segstream.ui.keys import KEYS, key_of
from segstream.ui.state import EMPTY, PAUSED, PLAYING
from tests.ui.helpers import SIZE

Maker = Callable[..., Any]
Key = Qt.Key
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def paused(make_window: Maker, video: Path, qtbot: Any) -> Any:
    window = make_window()
    window.open(str(video))
    qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)
    window.activateWindow()
    window.picture.setFocus()
    qtbot.keyClick(window, Key.Key_Space)
    qtbot.waitUntil(lambda: window.state.playback.status == PAUSED, timeout=30_000)
    qtbot.wait(100)
    return window


def test_playback_keys(paused: Any, qtbot: Any) -> None:
    state = paused.state

    def number() -> int:
        return round(float(paused.picture.result.frame.image.mean()) / 4)

    def press(key: Any, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        qtbot.keyClick(paused, key, modifier)

    start = number()
    press(Key.Key_Period)
    qtbot.waitUntil(lambda: number() == start + 1, timeout=30_000)
    press(Key.Key_Comma)
    qtbot.waitUntil(lambda: number() == start, timeout=30_000)
    press(Key.Key_Up)  # a minute on: the last frame
    qtbot.waitUntil(lambda: number() == 49, timeout=30_000)
    press(Key.Key_Home)
    qtbot.waitUntil(lambda: number() == 0, timeout=30_000)
    press(Key.Key_Right, SHIFT)
    qtbot.waitUntil(lambda: number() == 25, timeout=30_000)
    press(Key.Key_Left, SHIFT)
    qtbot.waitUntil(lambda: number() == 0, timeout=30_000)
    press(Key.Key_Right)
    qtbot.waitUntil(lambda: number() == 49, timeout=30_000)
    press(Key.Key_Left)
    qtbot.waitUntil(lambda: number() == 0, timeout=30_000)
    press(Key.Key_Up)
    qtbot.waitUntil(lambda: number() == 49, timeout=30_000)
    press(Key.Key_Down)
    qtbot.waitUntil(lambda: number() == 0, timeout=30_000)
    for key, speed in (
        (Key.Key_BracketRight, 1.25),
        (Key.Key_BracketLeft, 1.0),
        (Key.Key_BracketLeft, 0.75),
        (Key.Key_Backspace, 1.0),
    ):
        press(key)
        assert state.settings.speed == speed and paused.transport.speed.currentText() == f"{speed:g}×"
    press(Key.Key_L)
    assert state.settings.loop and paused.transport.loop.isChecked()
    press(Key.Key_P)
    qtbot.waitUntil(lambda: state.playback.status == PLAYING, timeout=30_000)


def test_picture_and_window_keys(paused: Any, home: Path, qtbot: Any) -> None:
    state = paused.state

    def press(key: Any, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        qtbot.keyClick(paused, key, modifier)

    for key, view in ((Key.Key_2, "mask"), (Key.Key_3, "split"), (Key.Key_4, "source"), (Key.Key_1, "overlay")):
        press(key)
        assert state.settings.view == view and paused.transport.view.buttons[view].isChecked()
    press(Key.Key_G)
    assert not state.settings.grid and "off" in paused.side.legend.note.text()
    press(Key.Key_A)
    assert state.settings.alpha == pytest.approx(0.6)
    press(Key.Key_A, SHIFT)
    assert state.settings.alpha == pytest.approx(0.5)
    fitted = paused.picture.place
    press(Key.Key_Plus)
    press(Key.Key_Equal)
    assert paused.picture.place.scale == pytest.approx(1.25**2 * fitted.scale)
    press(Key.Key_Minus)
    press(Key.Key_0)
    assert paused.picture.place == fitted
    press(Key.Key_T)
    assert state.settings.theme == "light" and paused.palette().window().color().name() == "#eef0f4"
    press(Key.Key_B)
    assert not paused.side.isVisible()
    press(Key.Key_I)
    paused.draw_figures()
    assert paused.statistics.isVisible() and "GMAC" in paused.statistics.text()
    press(Key.Key_S)
    press(Key.Key_M)
    assert len(list(home.rglob("*.png"))) == 2 and "Saved" in state.message
    press(Key.Key_C, CTRL)
    assert QApplication.clipboard().image().width() == 128
    press(Key.Key_R)
    assert state.playback.recording
    press(Key.Key_R)
    assert not state.playback.recording
    press(Key.Key_F)
    qtbot.waitUntil(paused.isFullScreen, timeout=5_000)
    press(Key.Key_Escape)
    qtbot.waitUntil(lambda: not paused.isFullScreen(), timeout=5_000)
    press(Key.Key_Question)
    assert paused.actions_._keys.isVisible()
    qtbot.keyClick(paused.actions_._keys, Key.Key_Question)
    assert not paused.actions_._keys.isVisible()
    paused.activateWindow()
    press(Key.Key_W, CTRL)
    assert state.playback.status == EMPTY
    press(Key.Key_Q)
    assert paused.closed


def test_the_first_page_is_used_by_keyboard(make_window: Maker, qtbot: Any) -> None:
    window = make_window()
    window.activateWindow()
    for _ in range(8):
        qtbot.keyClick(window.focusWidget() or window, Key.Key_Tab)
        if window.focusWidget() is window.welcome.buttons["demo"]:
            break
    assert window.focusWidget() is window.welcome.buttons["demo"]
    qtbot.keyClick(window.welcome.buttons["demo"], Key.Key_Space)
    qtbot.waitUntil(lambda: window.state.playback.status == PLAYING, timeout=30_000)


def test_keys_are_those_of_mpv() -> None:
    keys = {key.action: key.keys for key in KEYS}
    for action, key in (
        ("play_pause", "Space"),
        ("step_forward", "."),
        ("step_back", ","),
        ("forward_5", "Right"),
        ("back_1", "Shift+Left"),
        ("faster", "]"),
        ("screenshot", "S"),
        ("fullscreen", "F"),
        ("statistics", "I"),
        ("help", "?"),
        ("quit", "Q"),
    ):
        assert key in keys[action]
    assert key_of("forward_60") == "↑" and key_of("back_1") == "Shift+←"


def test_everything_that_was_set_is_there_the_next_time(make_window: Maker, home: Path, qtbot: Any) -> None:
    changes = {
        "policy": "heuristic",
        "threshold": 0.4,
        "budget": 0.6,
        "target_fps": 12.0,
        "view": "split",
        "alpha": 0.3,
        "grid": False,
        "divider": 0.7,
        "palette": "safe",
        "hidden": {"Road"},
        "speed": 2.0,
        "loop": True,
        "theme": "light",
        "panel": False,
    }
    window = make_window()
    window.state.set(**changes)
    window.resize(777, 555)
    window.close()
    again = store.load(home)
    for name, value in changes.items():
        assert getattr(again, name) == value, name
    from segstream.ui.app import make_window as make

    second = make(again, None, Fixed(size=SIZE), home)
    assert (second.width(), second.height()) == (777, 555)
    second.show()
    second.close()
    assert second.closed_in_time
