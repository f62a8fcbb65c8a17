"""What pictures and masks are called: by their source, whatever its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PyQt6.QtCore import QStandardPaths

from segstream.frames import Frame, Result
from segstream.ui.saving import save_mask, save_picture
from segstream.ui.state import Settings


@pytest.fixture
def result() -> Result:
    image, labels = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    return Result(Frame(image), labels, np.ones((1, 1), bool), (8, 8), ("a",), np.zeros((1, 3), np.uint8), 1, 1, 1)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("drive.mp4", "drive"),
        ("drive.2024-05-01.mp4", "drive.2024-05-01"),
        ("rtsp://192.168.1.5:554", "192.168.1"),
        ("\U00020000" * 90 + ".mp4", "\U00020000" * 30),  # four bytes each
        ("...", "segstream"),
    ],
)
def test_names(result: Result, source: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QStandardPaths, "writableLocation", lambda place: str(tmp_path))
    for save, ending in ((save_picture, ""), (save_mask, "-mask")):
        sentence, kind = save(result, Settings(), source)
        assert kind == "note" and sentence.startswith("Saved ")
        assert Path(sentence.removeprefix("Saved ")).name.startswith(f"{name}{ending}-20")
