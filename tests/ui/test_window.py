"""The real window on the real pipeline: open, play to the end, seek, step, change everything, close."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PyQt6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PyQt6.QtGui import QDropEvent, QKeySequence, QShortcut
from PyQt6.QtWidgets import QApplication

from segstream.scenes import FPS
from segstream.sources import SourceOptions
from segstream.ui.keys import KEYS
from segstream.ui.state import ENDED, FAILED, PAUSED, PLAYING
from tests.ui.helpers import RATE

Maker = Callable[..., Any]


def frame_number(window: Any) -> int:
    """Which frame of the grey video is shown."""
    return round(float(window.picture.result.frame.image.mean()) / 4)


def status(window: Any, wanted: str) -> Callable[[], bool]:
    return lambda: window.state.playback.status == wanted and window.picture.result is not None


@pytest.fixture
def paused(make_window: Maker, video: Path, qtbot: Any) -> Any:
    """A window that has the grey video open and stands still."""
    window = make_window()
    window.open(str(video))
    qtbot.waitUntil(status(window, PLAYING), timeout=30_000)
    window.actions_.run("play_pause")
    qtbot.waitUntil(status(window, PAUSED), timeout=30_000)
    qtbot.wait(150)  # frames on their way arrive
    return window


def test_a_file_plays_to_its_end_and_again(make_window: Maker, short_video: Path, qtbot: Any) -> None:
    window = make_window(speed=4.0)
    seen: list[int] = []
    window.picture.shown.connect(lambda result: seen.append(result.index))
    window.open(str(short_video))
    qtbot.waitUntil(status(window, ENDED), timeout=60_000)
    assert frame_number(window) == 11
    assert window.state.playback.position == pytest.approx(11 / RATE, abs=0.01)
    assert seen == sorted(seen) and len(seen) >= 2
    qtbot.waitUntil(lambda: window.side.cost.sentence.text().endswith("dense."), timeout=5_000)
    assert window.transport.time.text().startswith("0:00.4")
    window.actions_.run("play_pause")
    qtbot.waitUntil(lambda: frame_number(window) < 11, timeout=30_000)
    qtbot.waitUntil(status(window, ENDED), timeout=60_000)
    assert frame_number(window) == 11


def test_the_speed_is_the_one_that_was_chosen(make_window: Maker, video: Path, qtbot: Any) -> None:
    window = make_window(loop=True)
    window.open(str(video))
    qtbot.waitUntil(status(window, PLAYING), timeout=30_000)
    window.transport.speed.activated.emit(window.transport.speed.findData("0.25"))
    window.player.seek(0.0)
    qtbot.waitUntil(lambda: window.state.playback.position > 0.05, timeout=30_000)
    position, start = window.state.playback.position, time.monotonic()
    qtbot.wait(1200)
    took = (window.state.playback.position - position) / (time.monotonic() - start)
    assert 0.15 < took < 0.35


def test_a_loop_starts_again_by_itself(make_window: Maker, short_video: Path, qtbot: Any) -> None:
    window = make_window(speed=4.0, loop=True)
    window.open(str(short_video))
    for _ in range(2):
        qtbot.waitUntil(lambda: window.picture.result is not None and frame_number(window) > 7, timeout=30_000)
        qtbot.waitUntil(lambda: frame_number(window) < 7, timeout=30_000)
    assert window.state.message_kind != "error"


@pytest.mark.parametrize("then", ["another source", "none"])
def test_a_result_on_its_way_does_not_outlive_its_source(make_window: Maker, qtbot: Any, then: str) -> None:
    window = make_window()
    window.open("demo:128x64")
    qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)
    end = time.monotonic() + 10
    while window.bridge.results._value is None:  # the window is busy, and a result waits for it
        assert time.monotonic() < end
        time.sleep(0.01)
    if then == "none":
        window.close_source()
    else:
        window.open("missing.mp4")
    qtbot.wait(300)
    assert window.picture.result is None and len(window.measurements) == 0


@pytest.mark.parametrize("spec", ["demo:128x64", "video"])
def test_after_max_frames_everything_goes_on(make_window: Maker, video: Path, qtbot: Any, spec: str) -> None:
    window = make_window(SourceOptions(max_frames=5), speed=0.25)  # slow, so that no frame is overtaken by the next
    spec, rate = (str(video), RATE) if spec == "video" else (spec, FPS)
    came: list[int] = []
    window.picture.shown.connect(lambda result: came.append(round(result.pts_seconds * rate)))

    def until(number: int, wanted: str) -> None:
        qtbot.waitUntil(lambda: bool(came) and came[-1] == number and status(window, wanted)(), timeout=30_000)
        came.clear()

    def replays() -> None:
        window.actions_.run("play_pause")
        qtbot.waitUntil(lambda: bool(came) and came[0] < 4, timeout=30_000)
        until(4, ENDED)

    window.open(spec)
    until(4, ENDED)
    replays()
    window.actions_.run("back_1")  # which is before the start
    until(4, ENDED)
    window.actions_.run("forward_5")  # which is beyond the end
    until(4, ENDED)
    window.actions_.run("step_back")
    until(3, PAUSED)
    window.actions_.run("step_forward")
    until(4, PAUSED)
    window.actions_.run("play_pause")
    qtbot.waitUntil(status(window, ENDED), timeout=30_000)
    window.state.set(policy="low")
    until(4, PAUSED)
    assert window.picture.result.policy == "low"
    replays()
    window.state.set(loop=True)
    for _ in range(2):
        qtbot.waitUntil(lambda: bool(came) and came[-1] < 2, timeout=30_000)
        qtbot.waitUntil(lambda: came[-1] == 4, timeout=30_000)


def test_a_loop_ends_when_nothing_comes_any_more(make_window: Maker, tmp_path: Path, qtbot: Any) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((64, 128, 3), 40 * i, np.uint8))
    window = make_window(speed=4.0, loop=True)
    window.open(str(folder))
    qtbot.waitUntil(lambda: window.player._playing is not None, timeout=30_000)
    playing = window.player._playing
    qtbot.waitUntil(lambda: playing.pipeline.stats().lanes[0].frames > 6, timeout=30_000)
    for path in folder.iterdir():
        path.unlink()
    qtbot.waitUntil(lambda: playing.source.warnings.errors >= 3, timeout=30_000)
    qtbot.waitUntil(status(window, ENDED), timeout=30_000)
    qtbot.wait(300)
    errors = playing.source.warnings.errors  # grows whenever it looks for its files
    qtbot.wait(1000)
    assert playing.source.warnings.errors == errors and window.state.playback.status == ENDED


def test_steps_show_the_next_and_the_last_frame(paused: Any, qtbot: Any) -> None:
    start = frame_number(paused)
    for step, expected in (("step_forward", 1), ("step_forward", 2), ("step_back", 1), ("step_back", 0)):
        paused.actions_.run(step)
        qtbot.waitUntil(lambda expected=expected: frame_number(paused) == start + expected, timeout=30_000)
    qtbot.wait(200)
    assert frame_number(paused) == start and paused.state.playback.status == PAUSED


def test_seeking_by_keys_clicks_and_scrubbing_shows_the_right_frame(paused: Any, qtbot: Any) -> None:
    qtbot.keyClick(paused, Qt.Key.Key_Home)
    qtbot.waitUntil(lambda: frame_number(paused) == 0, timeout=30_000)
    qtbot.keyClick(paused, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(lambda: frame_number(paused) == RATE, timeout=30_000)
    slider = paused.transport.seek
    qtbot.mouseClick(slider, Qt.MouseButton.LeftButton, pos=QPoint(slider.width() // 4, slider.height() // 2))
    qtbot.waitUntil(lambda: abs(frame_number(paused) - 12) <= 2, timeout=30_000)
    for i in range(60):  # two seconds of scrubbing at once: the last place wins
        paused.player.seek(2.0 * (i % 40) / 40)
    paused.player.seek(1.2)
    qtbot.waitUntil(lambda: frame_number(paused) == 30, timeout=30_000)
    qtbot.wait(200)
    assert frame_number(paused) == 30 and paused.state.playback.status == PAUSED
    qtbot.keyClick(paused, Qt.Key.Key_Right)  # beyond the end: the last frame
    qtbot.waitUntil(lambda: frame_number(paused) == 49, timeout=30_000)


def test_every_control_acts_while_playing(make_window: Maker, video: Path, qtbot: Any) -> None:
    window = make_window(loop=True, speed=4.0)
    window.open(str(video))
    qtbot.waitUntil(status(window, PLAYING), timeout=30_000)
    controls = window.side.controls

    def result_has(**wanted: Any) -> None:
        qtbot.waitUntil(
            lambda: all(getattr(window.picture.result, name) == value for name, value in wanted.items()), timeout=30_000
        )

    for policy, share in (("high", 1.0), ("low", 0.0), ("high", 1.0)):
        controls.policy.setCurrentIndex(controls.policy.findData(policy))
        controls.policy.activated.emit(controls.policy.currentIndex())
        result_has(policy=policy, high_share=share)
    controls.budget.setValue(50)
    result_has(high_share=0.5)
    controls.budget.setValue(100)
    controls.policy.activated.emit(controls.policy.findData("random"))
    controls.threshold.setValue(100)
    result_has(policy="random", high_share=0.0)
    controls.threshold.setValue(0)
    result_has(policy="random", high_share=1.0)
    assert window.state.settings.threshold == 0.0
    controls.own.click()
    assert window.state.settings.threshold is None
    controls.target.setValue(30)
    qtbot.waitUntil(lambda: "budget now" in controls.target_text.text(), timeout=30_000)
    controls.target.setValue(0)
    for view in ("mask", "split", "source", "overlay"):
        window.transport.view.buttons[view].click()
        assert window.state.settings.view == view
    window.transport.alpha.setValue(20)
    window.transport.grid.click()
    window.transport.speed.activated.emit(window.transport.speed.findData("0.5"))
    assert (window.state.settings.alpha, window.state.settings.grid, window.state.settings.speed) == (0.2, False, 0.5)
    controls.palette_choice.activated.emit(controls.palette_choice.findData("safe"))
    assert window.state.settings.palette == "safe"
    window.side.legend.rows["Road"].click()
    assert window.state.settings.hidden == {"Road"}
    for key in KEYS:
        if key.group == "Picture" or key.action in ("slower", "faster", "theme", "panel", "statistics"):
            window.actions_.run(key.action)
    before = len(window.measurements)
    qtbot.waitUntil(lambda: len(window.measurements) != before, timeout=30_000)
    assert window.state.message_kind != "error"


def test_a_change_acts_at_once_where_playback_stands_still(paused: Any, qtbot: Any) -> None:
    paused.state.set(policy="high")
    qtbot.waitUntil(lambda: paused.picture.result.high_share == 1.0, timeout=30_000)
    number = frame_number(paused)
    paused.state.set(policy="low")
    qtbot.waitUntil(lambda: paused.picture.result.high_share == 0.0, timeout=30_000)
    assert frame_number(paused) == number and paused.state.playback.status == PAUSED


def test_another_model_and_device_take_over_and_a_bad_one_does_not(paused: Any, qtbot: Any) -> None:
    engine = paused.state.playback.network.engine
    paused.state.set(model="no-such-model")
    qtbot.waitUntil(lambda: paused.state.message_kind == "error", timeout=30_000)
    assert "no-such-model" in paused.state.message and paused.message.isVisible()
    paused.state.say("")
    paused.state.set(model="untrained-rn18", device="cuda:77")
    qtbot.waitUntil(lambda: paused.state.message_kind == "error", timeout=30_000)
    assert "cuda" in paused.state.message.lower()
    paused.state.set(device="cpu")
    qtbot.waitUntil(lambda: not paused.state.playback.busy, timeout=30_000)
    paused.actions_.run("play_pause")
    before = paused.state.playback.position
    qtbot.waitUntil(lambda: paused.state.playback.position > before, timeout=30_000)
    assert paused.state.playback.network.engine == engine


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("not there.mp4", "does not exist"),
        ("rtsp://user:secret@127.0.0.1:9/street", "127.0.0.1"),
        ("gopher://x", "not a kind of source"),
    ],
)
def test_a_source_that_cannot_be_opened_is_one_sentence(
    make_window: Maker, video: Path, qtbot: Any, spec: str, words: str
) -> None:
    window = make_window()
    window.open(spec)
    qtbot.waitUntil(lambda: window.state.playback.status == FAILED, timeout=30_000)
    qtbot.waitUntil(lambda: bool(window.state.message), timeout=30_000)
    assert words in window.state.message and "secret" not in window.state.message
    assert window.state.message_kind == "error" and window.message.isVisible()
    assert "secret" not in window.windowTitle()
    assert window.welcome.isVisible()
    seen = window.childAt(window.message.mapTo(window, window.message.rect().center()))
    assert window.message in (seen, seen.parentWidget())  # nothing lies over it
    window.open(str(video))
    qtbot.waitUntil(status(window, PLAYING), timeout=30_000)


def test_dropped_files_open_and_are_remembered(make_window: Maker, video: Path, home: Path, qtbot: Any) -> None:
    window = make_window(theme="light")
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(video))])
    window.dropEvent(
        QDropEvent(
            QPointF(10, 10), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        )
    )
    qtbot.waitUntil(status(window, PLAYING), timeout=30_000)
    assert window.state.settings.recent == (str(video),)
    window.close()
    from segstream.ui import store

    settings = store.load(home)
    assert settings.recent == (str(video),) and settings.theme == "light"


def test_the_window_stays_alive_while_the_network_takes_long(make_window: Maker, qtbot: Any) -> None:
    """The slider moves at 30 FPS while a frame takes long: the thread of the window never waits for the network."""
    window = make_window(policy="high")
    slow = window.player._engine
    segment = slow._segment

    def takes_a_second(*arguments: Any) -> Any:
        time.sleep(1.0)
        return segment(*arguments)

    slow._segment = takes_a_second
    window.open("demo:320x180")
    qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)
    ticks: list[float] = []
    start = time.monotonic()
    while time.monotonic() - start < 2.0:
        tick = time.monotonic()
        window.transport.alpha.setValue(int(50 + 40 * np.sin(10 * tick)))
        QApplication.processEvents()
        ticks.append(time.monotonic() - tick)
        time.sleep(0.002)
    assert sorted(ticks)[int(0.98 * len(ticks))] < 1 / 30
    slow._segment = segment


def test_all_keys_are_bound_once_and_explained(make_window: Maker, qtbot: Any) -> None:
    window = make_window()
    bound = [s.key().toString() for s in window.findChildren(QShortcut)]
    wanted = [QKeySequence(sequence).toString() for key in KEYS for sequence in key.keys]
    assert sorted(bound) == sorted(wanted) and len(set(wanted)) == len(wanted)
    assert all(key.action in window.actions_._table for key in KEYS)
    window.actions_.run("help")
    texts = {label.text() for label in window.actions_._keys.findChildren(type(window.transport.time))}
    assert {key.text for key in KEYS} <= texts
    window.actions_.run("help")


def test_the_keyboard_reaches_every_control(make_window: Maker, video: Path, qtbot: Any) -> None:
    window = make_window()
    window.open(str(video))
    qtbot.waitUntil(status(window, PLAYING), timeout=30_000)
    window.activateWindow()
    window.picture.setFocus()
    reached = set()
    for _ in range(80):
        qtbot.keyClick(window.focusWidget() or window, Qt.Key.Key_Tab)
        if (widget := window.focusWidget()) is not None:
            reached.add(widget.accessibleName() or type(widget).__name__)
    assert {
        "Position",
        "Play or pause",
        "Policy",
        "Threshold",
        "Budget",
        "Palette",
        "Model",
        "Device",
        "Opacity",
    } <= reached
    window.side.controls.budget.setFocus(Qt.FocusReason.TabFocusReason)
    position = window.state.playback.position
    qtbot.keyClick(window.side.controls.budget, Qt.Key.Key_Left)
    assert window.state.settings.budget == pytest.approx(0.99)
    assert window.state.playback.position >= position  # the key did not seek
