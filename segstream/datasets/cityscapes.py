"""Cityscapes with its 19 evaluated classes, in the official folders (leftImg8bit and gtFine).

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016.
"""

from __future__ import annotations

from pathlib import Path

from segstream.datasets.base import Dataset, check_split, from_pairs, images_in, index_table
from segstream.errors import SourceError

# Class name -> the value in the *_gtFine_labelIds.png files; the order is the one of the published train ids.
LABEL_IDS = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
CLASSES = tuple(LABEL_IDS)
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
    table = index_table({value: index for index, value in enumerate(LABEL_IDS.values())})
    return from_pairs("cityscapes", split, CLASSES, pairs, table)
