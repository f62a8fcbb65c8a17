"""CamVid with 11 classes, in the folders of the SegNet tutorial (367 / 101 / 233 images at 480x360).

Brostow, Fauqueur, Cipolla, "Semantic object classes in video", Pattern Recognition Letters 2009. The split that
circulates on Kaggle is another one and makes results look better than they are.
"""

from __future__ import annotations

from pathlib import Path

from segstream.datasets.base import IGNORE, Dataset, check_split, from_pairs, images_in, index_table
from segstream.errors import SourceError
from segstream.palettes import CAMVID

CLASSES = tuple(CAMVID)  # in the order of their indices
LAYOUT = "train/ with trainannot/, val/ with valannot/, test/ with testannot/ (labels under the image's name)"


def open_camvid(folder: Path, split: str) -> Dataset:
    """CamVid from `folder`; images in any format, labels found by the image's name without its ending."""
    check_split("CamVid", split, ("train", "val", "trainval", "test"))
    pairs = []
    for part in ("train", "val") if split == "trainval" else (split,):
        images = images_in(folder / part, "CamVid", LAYOUT)
        labels = {path.stem: path for path in images_in(folder / f"{part}annot", "CamVid", LAYOUT)}
        for image in images:
            if image.stem not in labels:
                raise SourceError(
                    f"the image {image} has no labels: looked for {image.stem}.png in {folder / f'{part}annot'}."
                )
            pairs.append((image, labels[image.stem]))
    unlabelled = (len(CLASSES), IGNORE)
    table = index_table({index: index for index in range(len(CLASSES))}, unlabelled)
    return from_pairs("camvid", split, CLASSES, pairs, table)
