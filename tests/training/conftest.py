"""A data set small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images to train on and one to validate."""
    folder = tmp_path_factory.mktemp("camvid")
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 1)):
        for name in (part, f"{part}annot"):
            (folder / name).mkdir()
        for i in range(count):
            image = rng.integers(0, 256, (60, 120, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / part / f"{i}.png")
            Image.fromarray((image[..., 0] // 25).astype(np.uint8)).save(folder / f"{part}annot" / f"{i}.png")
    return folder
