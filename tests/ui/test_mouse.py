"""The hand: divider, zoom and pan, the class under the cursor, legend, full screen, menu, drag and drop."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt6.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from PyQt6.QtGui import QDragEnterEvent, QDropEvent, QMouseEvent, QWheelEvent
from PyQt6.QtWidgets import QApplication, QMenu

from segstream.ui.saving import picture_of
from segstream.ui.state import EMPTY, FAILED, PAUSED, PLAYING
from tests.ui.helpers import make_result, write_video

Maker = Callable[..., Any]
LEFT, NONE = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton


@pytest.fixture
def still(make_window: Maker, video: Path, qtbot: Any) -> Any:
    """A window that stands still on a frame of the video."""
    window = make_window()
    window.open(str(video))
    qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)
    window.actions_.run("play_pause")
    qtbot.waitUntil(lambda: window.state.playback.status == PAUSED, timeout=30_000)
    qtbot.wait(100)
    return window


def at_frame(window: Any, x: float, y: float) -> QPoint:
    """Position in the picture widget of a part of the frame, 0..1."""
    place = window.picture.place
    return QPointF(*place.to_device(x * place.frame[0], y * place.frame[1])).toPoint()


def mouse(window: Any, kind: QEvent.Type, at: QPoint, button: Any = NONE) -> None:
    where = QPointF(at)
    held = LEFT if kind == QEvent.Type.MouseMove and button == LEFT else button
    event = QMouseEvent(kind, where, window.picture.mapToGlobal(where), button, held, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(window.picture, event)


def test_pixels_that_are_not_square_are_shown_so(make_window: Maker, tmp_path: Path, qtbot: Any) -> None:
    video = write_video(tmp_path / "wide pixels.mp4", pixel_aspect=Fraction(64, 45))
    window = make_window(view="split")
    window._poll_timer.stop()  # the first picture may come before the player was asked again
    shapes: list[float] = []
    window.picture.shown.connect(lambda _: shapes.append(window.picture.place.aspect))
    window.open(str(video))
    qtbot.waitUntil(lambda: bool(shapes), timeout=30_000)
    assert shapes[0] == pytest.approx(64 / 45)  # from the first picture on
    _, _, width, height = window.picture.place.rect(0, 0, *window.picture.place.frame)
    assert width / height == pytest.approx(2 * 64 / 45, rel=0.01)
    mouse(window, QEvent.Type.MouseButtonPress, at_frame(window, 0.5, 0.5), LEFT)
    mouse(window, QEvent.Type.MouseMove, at_frame(window, 0.3, 0.5), LEFT)
    assert window.state.settings.divider == pytest.approx(0.3, abs=0.01)
    assert window.picture.class_at(QPointF(at_frame(window, 0.99, 0.5))) is not None
    assert window.picture.class_at(QPointF(at_frame(window, 1.01, 0.5))) is None
    assert picture_of(window.picture.result, window.state.settings).shape[:2] == (64, 128)
    window.open("demo:128x64")
    qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)
    assert window.picture.place.aspect == 1.0


def test_the_divider_follows_the_hand(still: Any, qtbot: Any) -> None:
    still.state.set(view="split")
    qtbot.wait(50)
    place = still.picture.place
    mouse(still, QEvent.Type.MouseMove, at_frame(still, 0.5, 0.5))
    assert still.picture.cursor().shape() == Qt.CursorShape.SplitHCursor
    mouse(still, QEvent.Type.MouseButtonPress, at_frame(still, 0.5, 0.5), LEFT)
    for part in (0.4, 0.25):
        mouse(still, QEvent.Type.MouseMove, at_frame(still, part, 0.6), LEFT)
        assert still.state.settings.divider == pytest.approx(part, abs=0.01)
    mouse(still, QEvent.Type.MouseMove, QPoint(-500, 10), LEFT)
    assert still.state.settings.divider == 0.0  # it stays in the picture
    mouse(still, QEvent.Type.MouseMove, at_frame(still, 0.25, 0.6), LEFT)
    mouse(still, QEvent.Type.MouseButtonRelease, at_frame(still, 0.25, 0.6), LEFT)
    mouse(still, QEvent.Type.MouseMove, at_frame(still, 0.8, 0.6))
    assert still.state.settings.divider == pytest.approx(0.25, abs=0.01)
    assert still.picture.place == place  # nothing was panned
    assert still.picture.cursor().shape() != Qt.CursorShape.SplitHCursor
    # What is left of it is the source, what is right of it the overlay.
    still.state.set(grid=False, alpha=1.0)
    picture, result = picture_of(still.picture.result, still.state.settings), still.picture.result
    assert np.array_equal(picture[5, :28], result.frame.image[5, :28])
    assert np.array_equal(picture[5, 40:], result.palette[result.labels][5, 40:])


def test_wheel_and_drag_zoom_and_pan_around_the_cursor(still: Any, qtbot: Any) -> None:
    at = at_frame(still, 0.25, 0.5)
    before = still.picture.place
    wheel = QWheelEvent(
        QPointF(at),
        still.picture.mapToGlobal(QPointF(at)),
        QPoint(),
        QPoint(0, 480),
        NONE,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(still.picture, wheel)
    zoomed = still.picture.place
    assert zoomed.scale > 1.9 * before.scale
    assert zoomed.to_frame(at.x(), at.y()) == pytest.approx(before.to_frame(at.x(), at.y()), abs=0.6)
    mouse(still, QEvent.Type.MouseButtonPress, at, LEFT)
    mouse(still, QEvent.Type.MouseMove, at + QPoint(30, -20), LEFT)
    mouse(still, QEvent.Type.MouseButtonRelease, at + QPoint(30, -20), LEFT)
    assert (still.picture.place.x, still.picture.place.y) == pytest.approx((zoomed.x + 30, zoomed.y - 20), abs=1)
    still.actions_.run("zoom_fit")
    assert still.picture.place == before


def test_the_class_under_the_cursor_is_named_and_follows_the_frames(still: Any, qtbot: Any) -> None:
    first = make_result()
    still.picture.show_result(first)
    qtbot.wait(50)
    mouse(still, QEvent.Type.MouseMove, at_frame(still, 0.2, 0.5))
    assert still.chip.isVisible() and still.chip.name.text() == "road"
    assert still.chip.swatch.colour.getRgb()[:3] == (200, 100, 0)
    mouse(still, QEvent.Type.MouseMove, at_frame(still, 0.97, 0.97))
    assert still.chip.name.text() == "tree"
    assert still.picture.rect().contains(still.chip.geometry())  # also in the corner
    still.picture.show_result(replace(first, labels=1 - first.labels))  # the cursor rests, the picture goes on
    qtbot.waitUntil(lambda: still.chip.name.text() == "road", timeout=5_000)
    mouse(still, QEvent.Type.MouseMove, at_frame(still, 0.5, -0.05))
    assert not still.chip.isVisible()
    QApplication.sendEvent(still.picture, QEvent(QEvent.Type.Leave))
    still.picture.show_result(first)
    qtbot.wait(100)
    assert not still.chip.isVisible()


def test_a_click_in_the_legend_hides_a_class_and_shows_it_again(still: Any, qtbot: Any) -> None:
    still.state.set(alpha=1.0, grid=False)
    still.draw_figures()
    rows, result = still.side.legend.rows, still.picture.result
    shares = result.class_shares()
    most = max(shares, key=lambda name: shares[name])
    assert {name: row.share for name, row in rows.items() if row.share} == pytest.approx(shares, abs=0.001)
    assert f"{100 * shares[most]:.1f} %" in rows[most].toolTip()
    hidden = result.labels == result.classes.index(most)
    qtbot.mouseClick(rows[most], LEFT)
    assert still.state.settings.hidden == {most} and not rows[most].isChecked()
    picture = picture_of(result, still.state.settings)
    assert np.array_equal(picture[hidden], result.frame.image[hidden])
    qtbot.mouseClick(rows[most], LEFT)
    assert still.state.settings.hidden == frozenset() and rows[most].isChecked()
    assert not np.array_equal(picture_of(result, still.state.settings)[hidden], result.frame.image[hidden])


def test_full_screen_hides_the_bar_when_the_mouse_rests(still: Any, qtbot: Any) -> None:
    still.full_screen._timer.setInterval(60)
    beside = still.stack.width()
    mouse(still, QEvent.Type.MouseButtonDblClick, at_frame(still, 0.5, 0.5), LEFT)
    qtbot.waitUntil(still.isFullScreen, timeout=5_000)
    assert not still.side.isVisible()
    qtbot.waitUntil(lambda: still.stack.width() > beside, timeout=5_000)
    qtbot.waitUntil(lambda: not still.transport.isVisible(), timeout=5_000)
    assert still.stack.cursor().shape() == Qt.CursorShape.BlankCursor
    mouse(still, QEvent.Type.MouseMove, at_frame(still, 0.4, 0.4))
    assert still.transport.isVisible() and still.stack.cursor().shape() != Qt.CursorShape.BlankCursor
    assert still.transport.geometry().bottom() == still.stack.rect().bottom()
    still.actions_.run("escape")
    qtbot.waitUntil(lambda: not still.isFullScreen(), timeout=5_000)
    qtbot.wait(150)
    assert still.transport.isVisible() and still.side.isVisible()
    assert still.transport.mapTo(still, QPoint()).y() >= still.stack.mapTo(still, QPoint()).y() + still.stack.height()


@pytest.mark.parametrize("width", [760, 900, 1280])
def test_the_bar_leaves_out_what_has_no_room(still: Any, qtbot: Any, width: int) -> None:
    still.resize(width, 600)
    still.transport.time.setText("1:02:03.4 / 2:10:00")
    still.transport._fit()
    qtbot.wait(50)
    bar = still.transport
    shown = [widget for widget in bar._row if widget.isVisible()]
    assert bar.play in shown and bar.menu in shown and bar.record in shown and bar.time in shown
    ends = [(w.geometry().left(), w.geometry().right()) for w in sorted(shown, key=lambda w: w.x())]
    assert all(right < left for (_, right), (left, _) in itertools.pairwise(ends)), ends
    assert ends[-1][1] < bar.width()
    assert all(widget.width() >= widget.minimumSizeHint().width() for widget in shown)
    if width == 1280:
        assert bar.view in shown and bar.speed in shown and bar.shot in shown


def test_the_menu_offers_everything_and_the_recent_sources(still: Any, video: Path, qtbot: Any) -> None:
    def menu() -> QMenu:
        qtbot.waitUntil(lambda: isinstance(QApplication.activePopupWidget(), QMenu), timeout=5_000)
        return QApplication.activePopupWidget()  # type: ignore[return-value]

    qtbot.mouseClick(still.transport.menu, LEFT)
    items = {action.text().split("\t")[0]: action for action in menu().actions() if not action.isSeparator()}
    assert {"Mask", "Open a file", "Open a camera", "Save the mask", "Copy the frame", "Quit"} <= set(items)
    recent = items["Recent"].menu()
    assert recent is not None and recent.actions()[0].text().startswith(video.name)
    items["Dark or light"].trigger()
    assert still.state.settings.theme == "light"
    menu().close()
    mouse(still, QEvent.Type.MouseButtonPress, at_frame(still, 0.5, 0.5), Qt.MouseButton.RightButton)
    items = {action.text().split("\t")[0]: action for action in menu().actions()}
    menu().close()
    items["Close the source"].trigger()
    assert still.state.playback.status == EMPTY and still.welcome.isVisible() and not still.side.isVisible()
    still.open(str(video))
    qtbot.waitUntil(lambda: still.state.playback.status == PLAYING, timeout=30_000)


def drop(window: Any, *urls: QUrl) -> bool:
    """Drag something over the window and let go; whether it was taken."""
    data = QMimeData()
    data.setUrls(list(urls))
    how = (Qt.DropAction.CopyAction, data, LEFT, Qt.KeyboardModifier.NoModifier)
    enter = QDragEnterEvent(QPoint(10, 10), *how)
    enter.setAccepted(False)
    QApplication.sendEvent(window, enter)
    if enter.isAccepted():
        QApplication.sendEvent(window, QDropEvent(QPointF(10, 10), *how))
    return enter.isAccepted()


def test_what_cannot_be_played_is_dropped_with_a_sentence(still: Any, home: Path, video: Path, qtbot: Any) -> None:
    assert not drop(still)
    (home / "notes.md").write_text("not a video at all\n" * 100)
    (home / "broken.mp4").write_bytes(video.read_bytes()[:200])
    (home / "nothing here").mkdir()
    for name in ("notes.md", "broken.mp4", "nothing here"):
        assert drop(still, QUrl.fromLocalFile(str(home / name)))
        qtbot.waitUntil(lambda: still.state.playback.status == FAILED, timeout=30_000)
        qtbot.waitUntil(lambda: bool(still.state.message), timeout=30_000)
        assert still.state.message_kind == "error" and still.message.isVisible()
        assert "\n" not in still.state.message and "Traceback" not in still.state.message
    assert drop(still, QUrl.fromLocalFile(str(video)))
    qtbot.waitUntil(lambda: still.state.playback.status == PLAYING, timeout=30_000)
    assert still.state.settings.recent[0] == str(video)


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_a_file_that_goes_while_it_plays_does_not_end_the_program(
    make_window: Maker, video: Path, home: Path, qtbot: Any, how: str
) -> None:
    path = home / "goes.mp4"
    path.write_bytes(video.read_bytes())
    window = make_window()
    window.open(str(path))
    qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)
    path.unlink() if how == "removed" else path.write_bytes(b"")
    window.player.seek(1.6)
    qtbot.waitUntil(lambda: window.state.playback.status not in (PLAYING, PAUSED), timeout=30_000)
    assert window.picture.result is not None and "Traceback" not in window.state.message
    window.open(str(path))
    qtbot.waitUntil(lambda: window.state.playback.status == FAILED and bool(window.state.message), timeout=30_000)
    window.open(str(video))
    qtbot.waitUntil(lambda: window.state.playback.status == PLAYING, timeout=30_000)
