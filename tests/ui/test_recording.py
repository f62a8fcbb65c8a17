"""What the viewer writes: recordings, screenshots, masks, the clipboard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PyQt6.QtWidgets import QApplication

from segstream.sources import open_source
from segstream.ui.colours import palette_for
from segstream.ui.recorder import Tape
from segstream.ui.state import PAUSED, PLAYING, Settings
from tests.ui.helpers import RATE, make_result, tone, write_sounding_video

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
    put = window.player._playing.tape.recorder.put
    window.player._playing.tape.recorder.put = lambda result: (results.append(result), put(result))
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


@pytest.fixture(scope="module")
def sounding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounding_video(tmp_path_factory.mktemp("video") / "sounding.mp4")


def pictures_and_sound(path: Path) -> tuple[list[tuple[float, float]], np.ndarray, int]:
    """Seconds and source time of every picture, and the sound from second zero on with its rate."""
    pictures, rate = [], 48_000
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pictures.append((frame.time, float(frame.to_ndarray(format="rgb24").mean()) / 4 / RATE))
    sound = np.zeros(round((pictures[-1][0] + 1) * rate), dtype=np.float32)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            start = round(frame.time * rate)
            part = frame.to_ndarray().mean(axis=0)[max(0, -start) :]
            sound[max(0, start) :][: len(part)] = part[: len(sound) - max(0, start)]
    return pictures, sound, rate


def check_sound(path: Path, joints: int) -> float:
    """Whatever is heard belongs to what is seen; returns the seconds recorded."""
    pictures, sound, rate = pictures_and_sound(path)
    times = np.array(pictures)
    assert np.all(np.diff(times[:, 0]) > 0) and np.diff(times[:, 0]).max() < 2.5 / RATE  # no gap, no picture twice
    jumps = np.flatnonzero(np.abs(np.diff(times[:, 1]) - np.diff(times[:, 0])) > 0.05)
    assert len(jumps) == joints, times
    wrong = 0
    for at, source in pictures[1:-1]:
        near_change = (source + 0.06) % 0.5 < 0.14 or any(abs(at - times[j, 0]) < 0.1 for j in jumps)
        window = sound[round(at * rate) : round(at * rate) + rate // 25]
        heard = np.argmax(np.abs(np.fft.rfft(window, 4 * len(window)))) * rate / (4 * len(window))
        wrong += not near_change and abs(heard - tone(source)) > 60
    assert wrong == 0, f"{wrong} of {len(pictures)} pictures have another sound"
    return float(times[-1, 0])


def recorded_file(window: Any, home: Path, qtbot: Any) -> Path:
    window.actions_.run("record")
    qtbot.waitUntil(lambda: "Saved" in window.state.message, timeout=30_000)
    assert "with sound" in window.state.message
    return next(home.rglob("*.mp4"))


def test_a_recording_has_the_sound_of_what_was_watched(
    make_window: Maker, sounding: Path, home: Path, qtbot: Any
) -> None:
    window = make_window(grid=False, view="source")
    window.open(str(sounding))
    qtbot.waitUntil(lambda: window.state.playback.position > 0.3, timeout=30_000)  # from the middle of the file
    window.actions_.run("record")
    started = window.state.playback.position
    qtbot.waitUntil(lambda: window.state.playback.position > started + 1.0, timeout=30_000)
    length = check_sound(recorded_file(window, home, qtbot), joints=0)
    assert length > 0.6


def test_pausing_and_seeking_leave_no_gap_in_a_recording(
    make_window: Maker, sounding: Path, home: Path, qtbot: Any
) -> None:
    window = make_window(grid=False, view="source")
    window.open(str(sounding))
    qtbot.waitUntil(playing(window), timeout=30_000)
    window.actions_.run("record")
    qtbot.waitUntil(lambda: window.state.playback.position > 0.4, timeout=30_000)
    window.player.seek(1.5)
    qtbot.waitUntil(lambda: window.state.playback.position > 1.8, timeout=30_000)
    window.player.seek(0.6)
    qtbot.waitUntil(lambda: 0.8 < window.state.playback.position < 1.4, timeout=30_000)
    window.actions_.run("play_pause")
    qtbot.waitUntil(lambda: window.state.playback.status == PAUSED, timeout=30_000)
    window.actions_.run("step_back")
    window.player.seek(2.0)  # what is looked at while it is paused is not recorded
    qtbot.waitUntil(lambda: window.state.playback.position == pytest.approx(2.0), timeout=30_000)
    qtbot.wait(100)
    window.actions_.run("play_pause")
    qtbot.waitUntil(lambda: window.state.playback.position > 2.2, timeout=30_000)
    length = check_sound(recorded_file(window, home, qtbot), joints=3)
    assert length < 3.0


def test_opening_another_source_finishes_the_recording_with_its_sound(
    make_window: Maker, sounding: Path, home: Path, qtbot: Any
) -> None:
    window = make_window(grid=False, view="source")
    for _ in range(3):  # a file whose header is not written yet when its source is left, too
        window.open(str(sounding))
        qtbot.waitUntil(playing(window), timeout=30_000)
        window.actions_.run("record")
    qtbot.waitUntil(lambda: window.state.playback.position > 0.5, timeout=30_000)
    window.open("demo:128x64")
    qtbot.waitUntil(lambda: not window.player._finishing[-1].join(0.0) or True, timeout=30_000)
    assert all(recorder.join(10) for recorder in window.player._finishing)
    files = list(home.rglob("*.mp4"))
    assert files
    check_sound(max(files, key=lambda path: path.stat().st_size), joints=0)


def test_the_sound_outlives_the_container_it_came_from(sounding: Path, tmp_path: Path) -> None:
    """A live source that reconnects has closed the container from which its sound came first."""
    source = open_source(str(sounding))
    tape = Tape(source)
    blank = make_result(64, 128)
    results = [replace(blank, frame=frame) for frame in source]
    source.close()
    said: list[str] = []
    tape.record(
        str(tmp_path / "out.mp4"), Settings().changed(view="source", grid=False), lambda text, _: said.append(text)
    )
    for result in results:
        tape.write(result, None)
    tape.close()
    assert "with sound" in said[0]
    assert check_sound(tmp_path / "out.mp4", joints=0) > 2.0


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
