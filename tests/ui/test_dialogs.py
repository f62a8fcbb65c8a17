"""The questions of the viewer: cameras with their sizes and rates as a driver tells them, files, addresses, models."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import Qt, QTimer
from PyQt6.QtWidgets import QApplication, QDialog, QDialogButtonBox, QFileDialog, QInputDialog, QLineEdit, QPushButton

from segstream.sources import Camera
from segstream.sources.v4l2 import ENUM_FORMAT, ENUM_SIZE, modes
from segstream.ui import dialogs
from segstream.ui.dialogs import CameraDialog
from segstream.ui.state import FAILED, PLAYING

Maker = Callable[..., Any]
# A camera as many are: raw pictures are slow at large sizes, and some formats have numbers in their names.
WEBCAM = {
    b"YUYV": {(640, 480): [(1, 30), (1, 15)], (1280, 720): [(1, 10)]},
    b"MJPG": {(640, 480): [(1, 30)], (1280, 720): [(1, 60), (1, 30)], (1920, 1080): [(1001, 30_000)]},
    b"NV12": {(640, 480): [(1, 30)]},
}


def driver(table: dict[bytes, dict[tuple[int, int], list[tuple[int, int]]]]) -> Callable[[int, bytes], bytes]:
    """Answers as the kernel does: the structure filled in, or EINVAL past the last entry."""

    def ask(request: int, data: bytes) -> bytes:
        try:
            if request == ENUM_FORMAT:
                index = struct.unpack_from("=I", data)[0]
                return data[:44] + list(table)[index] + data[48:]
            index, fourcc = struct.unpack_from("=I4s", data)
            sizes = table[fourcc]
            if request == ENUM_SIZE:
                return data[:8] + struct.pack("=III", 1, *list(sizes)[index]) + data[20:]
            rates = sizes[struct.unpack_from("=II", data, 8)]
            return data[:16] + struct.pack("=III", 1, *rates[index]) + data[28:]
        except IndexError:
            raise OSError(22, "Invalid argument") from None

    return ask


def webcam(name: str = "/dev/video0", description: str = "Webcam C920") -> Camera:
    return Camera(name, description, tuple(modes(driver(WEBCAM))))


def texts(combo: Any) -> list[str]:
    return [combo.itemText(i) for i in range(combo.count())]


def choose(combo: Any, text: str) -> None:
    combo.setCurrentIndex(texts(combo).index(text))


@pytest.fixture
def dialog(qtbot: Any) -> CameraDialog:
    made = CameraDialog([webcam(), Camera("/dev/video2", "", ("1280x720 30",))])
    qtbot.addWidget(made)
    return made


def test_sizes_and_rates_are_those_of_the_driver(dialog: CameraDialog) -> None:
    assert texts(dialog.camera) == ["Webcam C920 (/dev/video0)", "/dev/video2"]
    assert texts(dialog.size_choice)[1:] == ["1920 × 1080", "1280 × 720", "640 × 480"]
    assert texts(dialog.rate)[1:] == ["60 FPS", "30 FPS", "29.97 FPS", "15 FPS", "10 FPS"]
    choose(dialog.size_choice, "1280 × 720")
    assert texts(dialog.rate)[1:] == ["60 FPS", "30 FPS", "10 FPS"]
    choose(dialog.rate, "30 FPS")
    choose(dialog.size_choice, "640 × 480")
    assert texts(dialog.rate)[1:] == ["30 FPS", "15 FPS"] and dialog.rate.currentText() == "30 FPS"
    choose(dialog.size_choice, "1920 × 1080")  # has no 30 FPS: back to the camera's own
    assert texts(dialog.rate)[1:] == ["29.97 FPS"] and dialog.rate.currentIndex() == 0


@pytest.mark.parametrize(
    ("size", "rate", "wanted"),
    [
        (0, 0, (None, None, None)),
        ("640 × 480", "30 FPS", ((640, 480), 30.0, None)),  # every format has it
        ("640 × 480", "15 FPS", ((640, 480), 15.0, "yuyv422")),
        ("1280 × 720", "60 FPS", ((1280, 720), 60.0, "mjpeg")),
        ("1280 × 720", 0, ((1280, 720), None, "mjpeg")),  # the format that is fastest at this size
        ("1920 × 1080", "29.97 FPS", ((1920, 1080), 29.97, "mjpeg")),
    ],
)
def test_the_choice_becomes_options_with_a_format_that_has_it(
    dialog: CameraDialog, size: Any, rate: Any, wanted: tuple[Any, ...]
) -> None:
    if size:
        choose(dialog.size_choice, size)
    if rate:
        choose(dialog.rate, rate)
    spec, options = dialog.choice()
    assert spec == "/dev/video0"
    assert (options.cam_size, options.cam_fps, options.cam_format) == wanted


def test_another_camera_and_a_device_that_is_typed(dialog: CameraDialog) -> None:
    choose(dialog.camera, "/dev/video2")
    assert texts(dialog.size_choice)[1:] == ["1280 × 720"] and texts(dialog.rate)[1:] == ["30 FPS"]
    dialog.camera.setEditText("/dev/video7")
    assert "640 × 480" in texts(dialog.size_choice) and "25 FPS" in texts(dialog.rate)
    assert dialog.choice()[0] == "/dev/video7"


def test_a_machine_without_a_camera_says_so(qtbot: Any) -> None:
    dialog = CameraDialog([])
    qtbot.addWidget(dialog)
    assert any("No camera was found" in label.text() for label in dialog.findChildren(type(dialogs.label(""))))
    assert dialog.choice()[0] == "/dev/video0"


def answer(kind: type[QDialog], act: Callable[[Any], None], tries: int = 200) -> None:
    """Once a dialog of this kind is up, do something with it."""

    def look() -> None:
        found = [w for w in QApplication.topLevelWidgets() if isinstance(w, kind) and w.isVisible()]
        if found:
            try:
                act(found[0])
            finally:
                if found[0].isVisible():
                    found[0].reject()  # no test hangs in a dialog
        elif tries:
            answer(kind, act, tries - 1)

    QTimer.singleShot(10, look)


def test_the_camera_that_is_chosen_is_opened(make_window: Maker, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogs, "list_cameras", lambda: [webcam("/dev/video77")])  # a driver's table, no camera
    window = make_window()
    opened: list[Any] = []
    open_source = window.player.open
    monkeypatch.setattr(window.player, "open", lambda *a: (opened.append(a), open_source(*a)))

    def act(dialog: CameraDialog) -> None:
        choose(dialog.size_choice, "1280 × 720")
        qtbot.mouseClick(
            dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Open), Qt.MouseButton.LeftButton
        )

    answer(CameraDialog, act)
    qtbot.mouseClick(window.welcome.buttons["camera"], Qt.MouseButton.LeftButton)
    spec, options = opened[0]
    assert (spec, options.cam_size, options.cam_format) == ("/dev/video77", (1280, 720), "mjpeg")
    qtbot.waitUntil(lambda: window.state.playback.status == FAILED and bool(window.state.message), timeout=30_000)
    assert "camera /dev/video77" in window.state.message and window.message.isVisible()


def test_dialogs_that_are_closed_open_nothing(make_window: Maker, qtbot: Any) -> None:
    window = make_window()
    for button, kind in (("open", QFileDialog), ("camera", CameraDialog), ("address", QInputDialog)):
        answer(kind, lambda dialog: dialog.reject())
        window.welcome.buttons[button].click()
    answer(QFileDialog, lambda dialog: dialog.reject())
    window.actions_.run("open_model")
    assert window.state.settings.recent == () and window.state.settings.model == "untrained-rn18"


def test_a_file_and_an_address_are_opened(make_window: Maker, video: Path, qtbot: Any) -> None:
    window = make_window()

    def choose_file(dialog: QFileDialog) -> None:
        dialog.findChild(QLineEdit, "fileNameEdit").setText(str(video))
        dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Open).click()

    answer(QFileDialog, choose_file)
    window.welcome.buttons["open"].click()
    qtbot.waitUntil(lambda: window.state.playback.status == PLAYING, timeout=30_000)
    assert window.state.playback.source.spec == str(video)

    def type_address(dialog: QInputDialog) -> None:
        dialog.setTextValue(" lavfi:testsrc2=size=128x64:rate=25,realtime ")
        dialog.accept()

    answer(QInputDialog, type_address)
    window.actions_.run("address")
    qtbot.waitUntil(lambda: window.state.playback.source.live, timeout=30_000)


def test_a_recent_source_is_opened_by_a_click(make_window: Maker, video: Path, qtbot: Any) -> None:
    window = make_window(recent=(str(video), "rtsp://user:secret@camera.example/street", "demo"))
    rows = [b for b in window.welcome.findChildren(QPushButton) if b.objectName() == "row" and b.isVisible()]
    assert [row.text().split("   ")[0] for row in rows] == [
        video.name,
        "rtsp://camera.example/street",
        "Demo: a drawn street",
    ]
    qtbot.mouseClick(rows[0], Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.state.playback.status == PLAYING, timeout=30_000)
