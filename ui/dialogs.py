"""Questions to the user: which file, which camera, which address, which model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from PyQt6.QtWidgets import QDialog, QDialogButtonBox, QFileDialog, QFormLayout, QInputDialog, QLineEdit, QWidget

from segstream.sources import Camera, SourceOptions, list_cameras
from segstream.ui.widgets import Combo, label

_VIDEOS = "*.mp4 *.mkv *.mov *.avi *.webm *.m4v *.mpg *.mpeg *.ts *.flv *.wmv"
_PICTURES = "*.png *.jpg *.jpeg *.bmp *.webp *.tif *.tiff"
_COMMON_SIZES = ((640, 480), (1280, 720), (1920, 1080))
_COMMON_RATES = (15.0, 24.0, 25.0, 30.0, 60.0)
_OWN = "The camera's own"
# What FFmpeg calls the formats of Video4Linux that it can be asked for.
_FFMPEG_NAMES = {
    "MJPG": "mjpeg",
    "YUYV": "yuyv422",
    "UYVY": "uyvy422",
    "NV12": "nv12",
    "YU12": "yuv420p",
    "GREY": "gray",
    "RGB3": "rgb24",
    "BGR3": "bgr24",
    "H264": "h264",
}
_MODE = re.compile(r"(?:(\S+)\s+)?\b(\d{2,5})x(\d{2,5})\b(.*)")


def ask_file(parent: QWidget, recent: tuple[str, ...]) -> str:
    """A video or picture file, or "" when the user thought better of it."""
    folders = [str(Path(spec).parent) for spec in recent if Path(spec).is_file()]
    path, _ = QFileDialog.getOpenFileName(
        parent,
        "Open a video or picture",
        folders[0] if folders else str(Path.home()),
        f"Videos and pictures ({_VIDEOS} {_PICTURES});;All files (*)",
    )
    return path


def ask_model(parent: QWidget) -> str:
    """A model file, or ""."""
    path, _ = QFileDialog.getOpenFileName(parent, "Open a model", str(Path.home()), "Models (*.safetensors)")
    return path


def ask_address(parent: QWidget) -> str:
    """The address of a stream, or ""."""
    text, good = QInputDialog.getText(
        parent, "Open a stream", "Address (rtsp://, http://, …):", QLineEdit.EchoMode.Normal
    )
    return text.strip() if good else ""


def ask_camera(parent: QWidget) -> tuple[str, SourceOptions] | None:
    """A camera and how to open it, or None."""
    dialog = CameraDialog(list_cameras(), parent)
    if dialog.exec() != QDialog.DialogCode.Accepted:
        return None
    return dialog.choice()


class CameraDialog(QDialog):
    """The cameras of this machine with their sizes and rates; a device can also be typed."""

    def __init__(self, cameras: list[Camera], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Open a camera")
        self.setMinimumWidth(420)
        self._cameras = {camera.name: camera for camera in cameras}
        self._modes: list[Mode] = []
        self.camera, self.size_choice, self.rate = Combo(), Combo(), Combo()
        self.camera.setEditable(True)
        self.camera.set_items([(_title(camera), camera.name) for camera in cameras])
        self.camera.setCurrentIndex(0 if cameras else -1)
        self.camera.currentTextChanged.connect(self._offer_sizes)
        self.size_choice.currentIndexChanged.connect(self._offer_rates)
        form = QFormLayout(self)
        form.setContentsMargins(22, 18, 22, 18)
        form.setVerticalSpacing(10)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        if not cameras:
            self.camera.setEditText("/dev/video0")
            form.addRow(label("No camera was found. Plug one in, or name its device:", "dim", wrap=True))
        for name, combo in (("Camera", self.camera), ("Size", self.size_choice), ("Rate", self.rate)):
            combo.setAccessibleName(name)
            form.addRow(name, combo)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form.addRow(buttons)
        self._offer_sizes()

    def _offer_sizes(self) -> None:
        camera = self._cameras.get(self._spec())
        self._modes = modes_of(camera) if camera is not None else []
        sizes = sorted({mode.size for mode in self._modes}, reverse=True) or _COMMON_SIZES
        self.size_choice.set_items([(_OWN, ""), *((f"{w} × {h}", f"{w}x{h}") for w, h in sizes)])
        self.size_choice.setCurrentIndex(0)
        self._offer_rates()

    def _offer_rates(self) -> None:
        """Only the rates that the camera has at the chosen size."""
        size = self._size()
        known = {rate for mode in self._modes if size in (None, mode.size) for rate in mode.rates}
        rates = sorted(known, reverse=True) or ([] if self._modes else _COMMON_RATES)
        chosen = self.rate.currentData()
        self.rate.set_items([(_OWN, ""), *((f"{rate:g} FPS", f"{rate:g}") for rate in rates)])
        self.rate.setCurrentIndex(max(0, self.rate.findData(chosen)))

    def _spec(self) -> str:
        """The device that is chosen or typed."""
        text = self.camera.currentText().strip()
        at = self.camera.findText(text)
        return str(self.camera.itemData(at)) if at >= 0 else text

    def _size(self) -> tuple[int, int] | None:
        width, _, height = str(self.size_choice.currentData() or "").partition("x")
        return (int(width), int(height)) if height else None

    def choice(self) -> tuple[str, SourceOptions]:
        """What was chosen."""
        size, rate = self._size(), float(self.rate.currentData() or 0) or None
        return self._spec(), SourceOptions(
            cam_size=size, cam_fps=rate, cam_format=format_for(self._modes, size, rate) if size else None
        )


@dataclass(frozen=True)
class Mode:
    """One way a camera can run: its format as the driver names it ("" where it is not told), size and rates."""

    format: str
    size: tuple[int, int]
    rates: tuple[float, ...]


def modes_of(camera: Camera) -> list[Mode]:
    """The modes that a camera names, such as "MJPG 1280x720 at 30, 15 fps" or "1280x720 30"."""
    modes = []
    for text in camera.modes:
        if found := _MODE.search(text):
            rates = tuple(float(f"{float(rate):g}") for rate in re.findall(r"\d+(?:\.\d+)?", found[4]))
            modes.append(Mode(found[1] or "", (int(found[2]), int(found[3])), rates))
    return modes


def format_for(modes: list[Mode], size: tuple[int, int], rate: float | None) -> str | None:
    """The format to ask for where not every format has the size and rate; left to itself FFmpeg takes the first one,
    and many cameras have large sizes at full rate as MJPG only."""
    able = [mode.format for mode in modes if mode.size == size and (rate is None or rate in mode.rates)]
    if not able or {mode.format for mode in modes} <= set(able):
        return None
    if rate is None:
        able = [max((m for m in modes if m.size == size), key=lambda mode: max(mode.rates, default=0.0)).format]
    return _FFMPEG_NAMES.get(able[0])


def _title(camera: Camera) -> str:
    """A camera by what it is; two of a kind are told apart by their device."""
    return f"{camera.description} ({camera.name})" if camera.description else camera.name
