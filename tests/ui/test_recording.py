"""What the viewer writes: recordings, screenshots, masks, the clipboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PyQt6.QtWidgets import QApplication

from segstream.ui.colours import palette_for
from segstream.ui.state import PAUSED, PLAYING
from tests.ui.helpers import RATE

Maker = Callable[..., Any]


def playing(window: Any) -> Callable[[], bool]:
    return lambda: window.state.playback.status == PLAYING and window.picture.result is not None


def test_the_overlay_is_recorded_while_it_is_watched(make_window: Maker, video: Path, home: Path, qtbot: Any) -> None:
    window = make_window(view="source", grid=False)
    window.open(str(video))
    qtbot.waitUntil(playing(window), timeout=30_000)
    results: list[Any] = []
    window.actions_.run("record")
    assert window.state.playback.recording and window.transport.record.icon_name == "stop"
    put = window.player._recorder.put
    window.player._recorder.put = lambda result: (results.append(result), put(result))
    qtbot.waitUntil(lambda: len(results) >= 8, timeout=30_000)
    window.actions_.run("record")
    qtbot.waitUntil(lambda: "Saved" in window.state.message, timeout=30_000)
    assert not window.state.playback.recording
    files = list(home.rglob("*.mp4"))
    assert len(files) == 1 and str(files[0]) in window.state.message
    with av.open(str(files[0])) as container:
        frames = [(float(frame.time or 0), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    # Each frame that was watched is there once, at its own time, with its own picture.
    assert len(frames) >= len(results)
    written = frames[-len(results) :]
    for (time, image), result in zip(written, results, strict=True):
        assert abs(float(image.mean()) - float(result.frame.image.mean())) < 6
        assert image.shape == result.frame.image.shape
        assert time - written[0][0] == pytest.approx(result.pts_seconds - results[0].pts_seconds, abs=0.5 / RATE)


def test_a_recording_that_cannot_be_written_is_a_sentence(make_window: Maker, video: Path, qtbot: Any) -> None:
    window = make_window()
    window.open(str(video))
    qtbot.waitUntil(playing(window), timeout=30_000)
    window.player.record("/dev/full/x.mp4")
    qtbot.waitUntil(lambda: window.state.message_kind == "error" and bool(window.state.message), timeout=30_000)
    qtbot.waitUntil(lambda: not window.state.playback.recording, timeout=30_000)
    before = window.state.playback.position
    qtbot.waitUntil(lambda: window.state.playback.position != before, timeout=30_000)


def test_screenshot_mask_and_clipboard(make_window: Maker, video: Path, home: Path, qtbot: Any) -> None:
    window = make_window(palette="safe", view="mask", grid=False)
    window.open(str(video))
    qtbot.waitUntil(playing(window), timeout=30_000)
    window.actions_.run("play_pause")
    qtbot.waitUntil(lambda: window.state.playback.status == PAUSED, timeout=30_000)
    qtbot.wait(300)
    result = window.picture.result
    expected = palette_for(result, "safe")[result.labels]
    window.actions_.run("screenshot")
    assert "Saved" in window.state.message
    window.actions_.run("save_mask")
    pictures = sorted(home.rglob("*.png"))
    shot = next(path for path in pictures if "-mask-" not in path.name)
    mask = next(path for path in pictures if "-mask-" in path.name)
    assert np.array_equal(cv2.imread(str(shot))[..., ::-1], expected)
    assert np.array_equal(cv2.imread(str(mask))[..., ::-1], expected)
    window.actions_.run("copy")
    image = QApplication.clipboard().image()
    assert (image.width(), image.height()) == (128, 64)
    assert image.pixelColor(5, 5).getRgb()[:3] == tuple(expected[5, 5])


def test_a_screenshot_without_a_place_is_a_sentence(make_window: Maker, video: Path, home: Path, qtbot: Any) -> None:
    window = make_window()
    window.open(str(video))
    qtbot.waitUntil(playing(window), timeout=30_000)
    for name in ("Pictures", "segstream"):
        (home / name).write_text("in the way")
    window.actions_.run("screenshot")
    assert window.state.message_kind == "error" and "cannot be made" in window.state.message
