"""Closing in the middle of anything ends every thread within two seconds, and leaves no memory behind."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import QCoreApplication, QEvent, QTimer

from segstream.ui.state import PAUSED, PLAYING
from tests.ui.helpers import our_threads, wait_for

Maker = Callable[..., Any]
_CYCLES = 50
_SETTLED = 5  # cycles until caches and pools have their size
_BYTES = 20e6


def watching(window: Any, video: Path, qtbot: Any) -> None:
    window.open(str(video))
    qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)


def while_loading(window: Any, video: Path, qtbot: Any) -> None:
    assert window.state.playback.network.classes == ()


def while_opening(window: Any, video: Path, qtbot: Any) -> None:
    window.open(str(video))


def while_playing(window: Any, video: Path, qtbot: Any) -> None:
    watching(window, video, qtbot)
    assert window.state.playback.status == PLAYING


def while_paused(window: Any, video: Path, qtbot: Any) -> None:
    watching(window, video, qtbot)
    window.actions_.run("play_pause")
    assert window.state.playback.status == PAUSED


def while_scrubbing(window: Any, video: Path, qtbot: Any) -> None:
    watching(window, video, qtbot)
    for i in range(20):
        window.player.seek(i / 10)


def while_recording(window: Any, video: Path, qtbot: Any) -> None:
    watching(window, video, qtbot)
    window.actions_.run("record")
    qtbot.waitUntil(lambda: len(window.measurements) > 5, timeout=30_000)


def while_changing_the_model(window: Any, video: Path, qtbot: Any) -> None:
    watching(window, video, qtbot)
    window.state.set(device="auto")


def while_the_network_fails(window: Any, video: Path, qtbot: Any) -> None:
    watching(window, video, qtbot)

    def fails(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    window.player._engine._segment = fails
    qtbot.waitUntil(lambda: "out of memory" in window.state.message, timeout=30_000)


def while_a_live_source_plays(window: Any, video: Path, qtbot: Any) -> None:
    window.open("lavfi:testsrc2=size=128x64:rate=25,realtime")
    qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)


def while_a_question_is_asked(window: Any, video: Path, qtbot: Any) -> None:
    watching(window, video, qtbot)
    QTimer.singleShot(200, window.close)
    window.actions_.run("camera")
    assert window.closed


def in_full_screen(window: Any, video: Path, qtbot: Any) -> None:
    watching(window, video, qtbot)
    window.actions_.run("fullscreen")
    qtbot.waitUntil(window.isFullScreen, timeout=5_000)


def after_many_sources(window: Any, video: Path, qtbot: Any) -> None:
    for _ in range(5):
        window.open(str(video))
        window.open("demo:128x64")


@pytest.mark.parametrize(
    "situation",
    [
        while_loading,
        while_opening,
        while_playing,
        while_paused,
        while_scrubbing,
        while_recording,
        while_changing_the_model,
        while_the_network_fails,
        while_a_live_source_plays,
        while_a_question_is_asked,
        in_full_screen,
        after_many_sources,
    ],
)
def test_closing_ends_every_thread(make_window: Maker, video: Path, home: Path, qtbot: Any, situation: Any) -> None:
    before = our_threads()
    window = make_window(policy="high")
    situation(window, video, qtbot)
    start = time.monotonic()
    if not window.closed:
        window.close()
    assert wait_for(lambda: our_threads() == before, 2.0)
    assert time.monotonic() - start < 2.0
    if situation is while_recording:  # what was recorded is playable
        import av

        with av.open(str(next(home.rglob("*.mp4")))) as container:
            assert sum(1 for _ in container.decode(video=0)) >= 1


def release_free_memory() -> None:
    """Let glibc give back what is free, so that only what is in use counts; other systems do so by themselves."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of this process from /proc")
def test_fifty_windows_leak_neither_threads_nor_memory(make_window: Maker, short_video: Path, qtbot: Any) -> None:
    before = our_threads()
    sizes = []

    def cycle() -> None:
        window = make_window()
        watching(window, short_video, qtbot)
        window.close()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        assert wait_for(lambda: our_threads() == before, 2.0)

    for _ in range(_SETTLED):
        cycle()
    gc.collect()
    gc.freeze()  # what other tests left is not looked through fifty times
    try:
        for _ in range(_CYCLES):
            cycle()
            gc.collect()
            release_free_memory()
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    finally:
        gc.unfreeze()
    grown = growth(sizes)
    print(f"{_CYCLES} windows opened and closed: {grown / 1e6:+.1f} MB")
    assert grown < _BYTES


def growth(sizes: list[int]) -> int:
    """Bytes by which the memory has grown over all cycles.

    What is leaked never comes back, so it raises the middle reading of each stretch of ten over that of the one before.
    Single readings swing up by what the heap keeps for reuse, one dips now and then, and a pool is grown once; the
    median of the steps between stretches forgives all three.
    """
    typical = [sorted(sizes[start : start + 10])[4] for start in range(0, len(sizes), 10)]
    steps = sorted(after - before for before, after in pairwise(typical))
    middle = (steps[(len(steps) - 1) // 2] + steps[len(steps) // 2]) / 2
    return round(middle * len(typical))


def test_the_measure_of_growth_sees_a_leak_and_forgives_a_swing() -> None:
    """Half a megabyte a window is a leak; readings that swing up by 60 MB or dip by 10 MB are none."""
    swing = [(60, 0, 1, 30, 2, -10, 0)[i % 7] * 1_000_000 if i % 11 else -10_000_000 for i in range(_CYCLES)]
    assert growth([300_000_000 + s for s in swing]) < _BYTES
    assert growth([300_000_000 + s + i * 500_000 for i, s in enumerate(swing)]) > _BYTES
    assert growth([300_000_000 + s + (40_000_000 if i > 23 else 0) for i, s in enumerate(swing)]) < _BYTES


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of this process from /proc")
def test_memory_in_use_is_counted_after_the_heap_was_trimmed() -> None:
    """Pages that are in use are still counted after the heap has given back what is free."""

    def size() -> int:
        release_free_memory()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before, kept = size(), []
    for _ in range(20):
        kept.append(bytearray(b"x" * 1_000_000))
    assert size() - before > 15e6
    del kept


_HANGING = """
import socket, sys, time
from PyQt6.QtCore import QTimer
from segstream.config import Settings
from segstream.ui import app
server = socket.create_server(("127.0.0.1", 0))
def close():
    print("closing", time.monotonic(), flush=True)
    next(w for w in application.topLevelWidgets() if hasattr(w, "player")).close()
application = app.make_application()
QTimer.singleShot(1500, close)
code = app.main(Settings(sources=(f"rtsp://127.0.0.1:{server.getsockname()[1]}/x",), model="untrained-rn18"))
sys.exit(code)
"""


def test_the_program_ends_although_a_server_never_answers(home: Path) -> None:
    """FFmpeg cannot be woken out of a connection that hangs; the program ends all the same."""
    run = subprocess.run(
        [sys.executable, "-c", _HANGING], capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2]
    )
    ended = time.monotonic()
    assert run.returncode == 0, run.stderr
    assert ended - float(run.stdout.split()[-1]) < 3.0
