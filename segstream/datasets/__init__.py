"""Labelled data sets in the folder layouts people have them in, and the street scenes that the program draws.

`open_dataset(name, data_dir, split)` is the only door. Reading needs Pillow only: no video library and no display.
"""

from __future__ import annotations

from pathlib import Path

from segstream.datasets.base import IGNORE, Dataset, Sample
from segstream.datasets.camvid import open_camvid
from segstream.datasets.cityscapes import open_cityscapes
from segstream.datasets.drawn import open_demo
from segstream.datasets.mapillary import open_mapillary
from segstream.errors import UsageError

__all__ = ["DATASETS", "IGNORE", "Dataset", "Sample", "open_dataset"]

DATASETS = {
    "camvid": "CamVid, 11 classes: train/, trainannot/, val/, valannot/ (test/, testannot/)",
    "cityscapes": "Cityscapes, 19 classes: leftImg8bit/SPLIT/CITY/, gtFine/SPLIT/CITY/",
    "mapillary": "Mapillary Vistas v1.2 or v2.0: training/, validation/, config_v*.json",
    "mapillary-v1.2": "Mapillary Vistas with the labels of version 1.2",
    "mapillary-v2.0": "Mapillary Vistas with the labels of version 2.0",
    "demo": "street scenes drawn by the program, CamVid's 11 classes; needs no folder",
}


def open_dataset(name: str, data_dir: str | Path | None, split: str = "val") -> Dataset:
    """Open one split of a data set.

    Args:
        name: one of `DATASETS`.
        data_dir: the folder that holds the data set; None for "demo".
        split: "train", "val" or "test", as far as the data set has them.

    Raises:
        UsageError: an unknown name or split, or no folder given.
        SourceError: the folder is not laid out as the data set is published.
    """
    if name not in DATASETS:
        raise UsageError(f"unknown data set {name!r}: the data sets are {', '.join(DATASETS)}.")
    if name == "demo":
        return open_demo(split)
    if data_dir is None:
        raise UsageError(f"the data set {name} needs a folder: give it with --data.")
    folder = Path(data_dir)
    if name == "camvid":
        return open_camvid(folder, split)
    if name == "cityscapes":
        return open_cityscapes(folder, split)
    return open_mapillary(folder, split, version=name.removeprefix("mapillary").removeprefix("-v") or None)
