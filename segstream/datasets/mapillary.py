"""Mapillary Vistas, label versions 1.2 (66 labels) and 2.0 (124 labels), in the official folders.

Neuhold et al., "The Mapillary Vistas Dataset for Semantic Understanding of Street Scenes", ICCV 2017. The classes are
those that the data set's own config file marks as evaluated; all other labels are ignored.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segstream.datasets.base import Dataset, check_split, from_pairs, images_in, index_table
from segstream.errors import SourceError, UsageError

VERSIONS = ("1.2", "2.0")
FOLDERS = {"train": "training", "val": "validation"}
LAYOUT = (
    "config_v2.0.json (or config_v1.2.json, or config.json), training/images/ with training/v2.0/labels/ "
    "(or training/v1.2/labels/, or training/labels/), the same under validation/"
)


def _first(paths: list[Path], what: str) -> Path:
    for path in paths:
        if path.exists():
            return path
    looked = ", ".join(str(path) for path in paths)
    raise SourceError(f"no Mapillary Vistas here: looked for {what} at {looked}; the layout expected is {LAYOUT}.")


def _places(folder: Path, part: str, version: str) -> tuple[list[Path], list[Path]]:
    """Where the config file and the labels of a version may lie; releases before 2.0 had no folder for the version."""
    configs = [folder / f"config_v{version}.json"]
    labels = [folder / part / f"v{version}" / "labels"]
    if version == "1.2":
        configs.append(folder / "config.json")
        labels.append(folder / part / "labels")
    return configs, labels


def read_classes(config: Path) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Names of the evaluated classes, and the table of the label files, as the config file lists them."""
    try:
        entries = json.loads(config.read_text(encoding="utf-8"))["labels"]
        evaluated = [(value, str(e["readable"])) for value, e in enumerate(entries) if e["evaluate"]]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"the file {config} is no config file of Mapillary Vistas (looked for a list 'labels' with 'readable' and "
            "'evaluate'): take the one that came with the data."
        ) from error
    table = index_table({value: index for index, (value, _) in enumerate(evaluated)}, range(len(entries)))
    return tuple(name for _, name in evaluated), table


def open_mapillary(folder: Path, split: str, version: str | None = None) -> Dataset:
    """Mapillary Vistas from `folder`; without a version the newest one that is there."""
    check_split("Mapillary Vistas", split, tuple(FOLDERS))
    if version is not None and version not in VERSIONS:
        raise UsageError(f"unknown version {version!r} of Mapillary Vistas: the versions are {', '.join(VERSIONS)}.")
    part = FOLDERS[split]
    if version is None:
        both = [v for v in reversed(VERSIONS) if any(path.is_dir() for path in _places(folder, part, v)[1])]
        version = both[0] if both else VERSIONS[-1]
    configs, label_folders = _places(folder, part, version)
    classes, table = read_classes(_first(configs, f"the config file of version {version}"))
    labels_folder = _first(label_folders, f"the labels of version {version}")
    pairs = []
    for image in images_in(folder / part / "images", "Mapillary Vistas", LAYOUT):
        labels = labels_folder / f"{image.stem}.png"
        if not labels.is_file():
            raise SourceError(f"the image {image} has no labels: looked for {labels}.")
        pairs.append((image, labels))
    return from_pairs(f"mapillary-v{version}", split, classes, pairs, table)
