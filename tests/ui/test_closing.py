"""Closing in the middle of anything ends every thread within two seconds, and leaves no memory behind."""

from __future__ import annotations

import ctypes
import gc
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
import pytest
from PyQt6.QtCore import QCoreApplication, QEvent, QTimer

from segstream.ui.state import PAUSED, PLAYING
from tests.ui.helpers import our_threads, wait_for

Maker = Callable[..., Any]
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
        with av.open(str(next(home.rglob("*.mp4")))) as container:
            assert sum(1 for _ in container.decode(video=0)) >= 1


class Mallinfo(ctypes.Structure):
    """What glibc says of its heaps (mallinfo2)."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def memory_in_use() -> int:
    """Bytes that are in use: of all heaps, and of Python's small objects, taken as 64 bytes each.

    The pages that a process holds say little: after some hundred tests more than a gigabyte is free in the heaps, and
    how much of that is given back swings by 60 MB.
    """
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = Mallinfo
    heaps = ask()
    return heaps.uordblks + heaps.hblkhd + 64 * sys.getallocatedblocks()


counts_memory = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc's heaps")


@counts_memory
@pytest.mark.parametrize("cycles", [30, pytest.param(50, marks=pytest.mark.slow)])
def test_windows_leak_neither_threads_nor_memory(
    make_window: Maker, short_video: Path, qtbot: Any, cycles: int
) -> None:
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
    gc.freeze()  # what other tests left is not looked through every time
    try:
        for _ in range(cycles):
            cycle()
            gc.collect()
            sizes.append(memory_in_use())
    finally:
        gc.unfreeze()
    # The middle of ten readings: a thread that ends late holds its stack's memory for one.
    grown = (median(sizes[-10:]) - median(sizes[:10])) * 50 / (cycles - 10)  # of fifty windows
    print(f"{cycles} windows opened and closed, {grown / 1e6:+.1f} MB in fifty")
    assert grown < _BYTES


@counts_memory
@pytest.mark.parametrize("make", [lambda: np.ones(25_000_000, np.uint8), lambda: [object() for _ in range(400_000)]])
def test_memory_in_use_is_what_has_not_been_given_back(make: Any) -> None:
    gc.collect()
    before = memory_in_use()
    kept = make()
    assert memory_in_use() - before > _BYTES
    del kept
    assert memory_in_use() - before < 2e6


def test_the_window_closes_when_stopped_in_the_middle_of_a_lock(make_window: Maker, qtbot: Any) -> None:
    window = make_window()
    with window.player._lock:  # which closing needs
        window.stop()
    qtbot.waitUntil(lambda: window.closed, timeout=5_000)
    window.stop()


_WATCHING = """
import sys
from PyQt6.QtCore import QTimer
from segstream.cli.main import main
from segstream.ui import app
def look():
    window = next(w for w in application.topLevelWidgets() if hasattr(w, "player"))
    if window.picture.result is not None and not window.state.playback.recording:
        window.actions_.run("record")
    elif len(window.measurements) > 5:
        print("recording", flush=True)
        timer.stop()
application = app.make_application()
timer = QTimer()
timer.timeout.connect(look)
timer.start(50)
sys.exit(main(["run", "-s", "demo:128x64", "-m", "untrained-rn18", "--device", "cpu", "--size", "128x64"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_window_finishes_the_recording_and_is_told(home: Path, number: int) -> None:
    root = Path(__file__).parents[2]
    pipe = subprocess.PIPE
    run = subprocess.Popen([sys.executable, "-c", _WATCHING], cwd=root, text=True, stdout=pipe, stderr=pipe)
    assert run.stdout is not None
    try:
        assert run.stdout.readline() == "recording\n"
        run.send_signal(number)
        _, said = run.communicate(timeout=30)
    finally:
        run.kill()
    assert run.returncode == 130, said
    assert "Traceback" not in said
    with av.open(str(next(home.rglob("*.mp4")))) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 1


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
code = app.main(Settings(sources=(f"rtsp://127.0.0.1:{server.getsockname()[1]}/x",), model="untrained-rn18"), {"model"})
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
