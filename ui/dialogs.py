"""Questions to the user: which file, which camera, which address, which model."""

from __future__ import annotations

import re
from pathlib import Path

from PyQt6.QtWidgets import QDialog, QDialogButtonBox, QFileDialog, QFormLayout, QInputDialog, QLineEdit, QWidget

from segstream.sources import Camera, SourceOptions, list_cameras
from segstream.ui.widgets import Combo, label

_VIDEOS = "*.mp4 *.mkv *.mov *.avi *.webm *.m4v *.mpg *.mpeg *.ts *.flv *.wmv"
_PICTURES = "*.png *.jpg *.jpeg *.bmp *.webp *.tif *.tiff"
_COMMON_SIZES = ("640x480", "1280x720", "1920x1080")
_COMMON_RATES = (15, 24, 25, 30, 60)


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
        self.camera, self.size_choice, self.rate = Combo(), Combo(), Combo()
        self.camera.setEditable(True)
        self.camera.set_items([(camera.description or camera.name, camera.name) for camera in cameras])
        self.camera.currentIndexChanged.connect(self._offer_modes)
        form = QFormLayout(self)
        form.setContentsMargins(22, 18, 22, 18)
        form.setVerticalSpacing(10)
        if not cameras:
            self.camera.setEditText("/dev/video0")
            form.addRow(label("No camera was found. Plug one in, or name its device:", "dim", wrap=True))
        form.addRow("Camera", self.camera)
        form.addRow("Size", self.size_choice)
        form.addRow("Rate", self.rate)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form.addRow(buttons)
        self._offer_modes()

    def _offer_modes(self) -> None:
        camera = self._cameras.get(str(self.camera.currentData() or ""))
        sizes, rates = modes_of(camera) if camera is not None else ([], [])
        self.size_choice.set_items([("The camera's own", ""), *((s, s) for s in sizes or _COMMON_SIZES)])
        self.rate.set_items([("The camera's own", ""), *((f"{r:g} FPS", f"{r:g}") for r in rates or _COMMON_RATES)])
        for combo in (self.size_choice, self.rate):
            combo.setCurrentIndex(0)

    def choice(self) -> tuple[str, SourceOptions]:
        """What was chosen."""
        text = self.camera.currentText().strip()
        at = self.camera.findText(text)
        spec = str(self.camera.itemData(at)) if at >= 0 else text
        size, rate = str(self.size_choice.currentData() or ""), str(self.rate.currentData() or "")
        width, _, height = size.partition("x")
        return spec, SourceOptions(
            cam_size=(int(width), int(height)) if height else None, cam_fps=float(rate) if rate else None
        )


def modes_of(camera: Camera) -> tuple[list[str], list[float]]:
    """Sizes and rates that a camera names, each once, the largest first."""
    sizes: dict[tuple[int, int], str] = {}
    rates: set[float] = set()
    for mode in camera.modes:
        if found := re.search(r"(\d{2,5})x(\d{2,5})", mode):
            sizes[int(found[1]), int(found[2])] = found[0]
            if rate := re.search(r"(?<![\dx])(\d+(?:\.\d+)?)(?![\dx])", mode.replace(found[0], "")):
                rates.add(float(rate[1]))
    return [sizes[key] for key in sorted(sizes, reverse=True)], sorted(rates, reverse=True)
