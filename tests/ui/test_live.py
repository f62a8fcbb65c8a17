"""Live sources in the window: shown as live, lost, and back."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from segstream.sources import SourceOptions
from segstream.ui.state import PAUSED, PLAYING

Maker = Callable[..., Any]


class Camera:
    """A camera on the network: sends a moving picture as MPEG-TS to whoever connects, until it is unplugged."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.1)
        self.port = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="pytest-camera", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with connection:
                self._send(connection)

    def _send(self, connection: socket.socket) -> None:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 128, 64, "yuv420p", 5
            for i in range(100_000):
                if self._stop.is_set():
                    return
                image = np.full((64, 128, 3), i % 250, dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
                data = buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
                try:
                    connection.sendall(data)
                except OSError:
                    return
                self._stop.wait(0.02)

    def unplug(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._listener.close()


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.unplug()


def options(**changes: Any) -> SourceOptions:
    return SourceOptions(open_timeout=5.0, read_timeout=1.0, **changes)


def test_a_camera_is_lost_and_comes_back(make_window: Maker, camera: Camera, qtbot: Any) -> None:
    window = make_window(options())
    window.open(f"tcp://127.0.0.1:{camera.port}")
    qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)
    qtbot.waitUntil(lambda: "LIVE" in window.transport.live.text(), timeout=30_000)
    qtbot.waitUntil(lambda: "ms behind" in window.transport.live_detail.text(), timeout=30_000)
    assert window.state.playback.source.live and not window.transport.seek.isVisible()
    camera.unplug()
    qtbot.waitUntil(lambda: window.transport.live.text() == "Reconnecting", timeout=30_000)
    qtbot.wait(300)  # what was on its way arrives
    shown = window.picture.result
    assert window.state.playback.status == PLAYING and window.transport.live_detail.text()
    qtbot.wait(200)
    assert window.picture.result is shown  # the last picture stays; nothing stands in for what was lost
    again = Camera(camera.port)
    try:
        qtbot.waitUntil(lambda: window.picture.result is not shown, timeout=30_000)
        qtbot.waitUntil(lambda: "LIVE" in window.transport.live.text(), timeout=30_000)
    finally:
        window.close()
        again.unplug()


def test_a_camera_that_is_gone_for_good_is_a_sentence(make_window: Maker, camera: Camera, qtbot: Any) -> None:
    window = make_window(options(reconnect=1))
    window.open(f"tcp://127.0.0.1:{camera.port}")
    qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)
    camera.unplug()
    qtbot.waitUntil(lambda: window.state.message_kind == "error" and bool(window.state.message), timeout=30_000)
    assert "lost" in window.state.message
    window.open("demo:128x64")
    qtbot.waitUntil(lambda: window.state.playback.source.name == "demo", timeout=30_000)


def test_a_live_picture_can_be_held_and_drops_are_counted(make_window: Maker, camera: Camera, qtbot: Any) -> None:
    window = make_window(options())
    window.open(f"tcp://127.0.0.1:{camera.port}")
    qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)
    window.actions_.run("play_pause")
    qtbot.waitUntil(lambda: window.state.playback.status == PAUSED, timeout=30_000)
    qtbot.wait(300)
    held, dropped = window.picture.result, window.state.playback.dropped
    qtbot.waitUntil(lambda: window.state.playback.dropped > dropped + 3, timeout=30_000)
    assert window.picture.result is held
    window.actions_.run("play_pause")
    qtbot.waitUntil(lambda: window.picture.result is not held, timeout=30_000)
    # What is shown now is what the camera sees now.
    assert time.monotonic() - window.picture.result.frame.captured_at < 2.0
