"""The program's own street scenes as a data set: images with exact labels, drawn when they are read.

Training draws scenes of other seeds than the ones evaluated, and "val" is spread over the demo that everyone sees
(`--source demo`, seed 0), so that mIoU on it says how well the demo is segmented without having been trained on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segstream.datasets.base import Dataset, check_split
from segstream.datasets.camvid import CLASSES

SIZE = (480, 360)  # width and height, CamVid's
VAL_IMAGES, VAL_STRIDE = 60, 15  # every 15th frame of the demo's first 900
TRAIN_IMAGES, TRAIN_FRAMES = 200, 4  # four frames of each town, because building a town takes longest
TRAIN_SEED = 1000


def open_demo(split: str, images: int | None = None, size: tuple[int, int] = SIZE) -> Dataset:
    """Drawn street scenes: "val" are frames of the demo, "train" are single frames of other streets."""
    check_split("the drawn demo", split, ("train", "val"))
    count = images or (VAL_IMAGES if split == "val" else TRAIN_IMAGES)

    def read(index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        from segstream.scenes import render

        if split == "val":
            return render(index * VAL_STRIDE, *size, 0)
        return render(index % TRAIN_FRAMES * 211, *size, TRAIN_SEED + index // TRAIN_FRAMES)

    return Dataset("demo", split, CLASSES, tuple(f"scene {i} ({split})" for i in range(count)), read)
