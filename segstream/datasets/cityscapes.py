"""Cityscapes with its 19 evaluated classes, in the official folders (leftImg8bit and gtFine).

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016.
"""

from __future__ import annotations

from pathlib import Path

from segstream.datasets.base import Dataset, check_split, from_pairs, images_in, index_table
from segstream.errors import SourceError
from segstream.palettes import CITYSCAPES

CLASSES = tuple(CITYSCAPES)  # in the order of the published train ids
# The value of each class in the *_gtFine_labelIds.png files.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
ID_COUNT = 34
NO_ID = 255  # licence plates, whose id is -1
LAYOUT = "leftImg8bit/SPLIT/CITY/*_leftImg8bit.png with gtFine/SPLIT/CITY/*_gtFine_labelIds.png"


def open_cityscapes(folder: Path, split: str) -> Dataset:
    """Cityscapes from the folder that holds leftImg8bit/ and gtFine/."""
    check_split("Cityscapes", split, ("train", "val"))  # the labels of "test" are not public
    root = folder / "leftImg8bit" / split
    if not root.is_dir():
        raise SourceError(f"no Cityscapes here: looked for the folder {root}; the layout expected is {LAYOUT}.")
    pairs = []
    for city in sorted(path for path in root.iterdir() if path.is_dir()):
        for image in images_in(city, "Cityscapes", LAYOUT):
            stem = image.stem.removesuffix("_leftImg8bit")
            labels = folder / "gtFine" / split / city.name / f"{stem}_gtFine_labelIds.png"
            if not labels.is_file():
                raise SourceError(f"the image {image} has no labels: looked for {labels}.")
            pairs.append((image, labels))
    if not pairs:
        raise SourceError(f"no images in {root}: looked for one folder a city; the layout expected is {LAYOUT}.")
    table = index_table({value: index for index, value in enumerate(LABEL_IDS)}, (*range(ID_COUNT), NO_ID))
    return from_pairs("cityscapes", split, CLASSES, pairs, table)
