"""A data set small enough to train on in a test."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segstream.datasets.camvid import CLASSES


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


@pytest.fixture(scope="session")
def signs(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images, a small sign in each of those to train on."""
    folder = shutil.copytree(camvid, tmp_path_factory.mktemp("signs") / "camvid")
    labels = np.zeros((60, 120), np.uint8)
    labels[20:30, 40:48] = CLASSES.index("SignSymbol")
    for file in (folder / "trainannot").iterdir():
        Image.fromarray(labels).save(file)
    return folder
