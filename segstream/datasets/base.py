"""What every data set looks like from outside, and reading of images and label files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segstream.errors import SourceError, UsageError

IGNORE = 255  # label of a pixel that counts neither in training nor in mIoU
UNKNOWN = 254  # in a table: a value that label files of the data set do not hold
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        labels: uint8 [H, W], class index per pixel, `IGNORE` where there is none.
        name: what to call it in messages: the file's name, or the scene's number.
    """

    image: NDArray[np.uint8]  # [H, W, 3]
    labels: NDArray[np.uint8]  # [H, W]
    name: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split of a data set: its classes, and labelled images by position.

    Attributes:
        name: name of the data set ("camvid").
        split: name of the split ("val").
        classes: class names by label index.
        names: one name an image.
        read: reads the image at a position: (image uint8 [H, W, 3], labels uint8 [H, W]).
    """

    name: str
    split: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    read: Callable[[int], tuple[NDArray[np.uint8], NDArray[np.uint8]]]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        image, labels = self.read(index)
        return Sample(image, labels, self.names[index])


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as uint8 [H, W, 3], RGB."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"), dtype=np.uint8)
    except Exception as error:  # Pillow raises many kinds for a damaged file, SyntaxError among them
        raise SourceError(f"the image {path} cannot be read ({error}): replace the file.") from error


def read_labels(path: Path, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Read a label file with one index a pixel (grey or palette) and translate it by `table`, uint8 [256].

    Raises:
        SourceError: if it cannot be read, holds colours, or a value that the table does not know.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P", "I;16", "I"):
                raise SourceError(
                    f"the label file {path} holds colours ({image.mode}), not one class index per pixel: "
                    "take the index files of the data set."
                )
            values = np.array(image)
    except SourceError:
        raise
    except Exception as error:  # as above
        raise SourceError(f"the label file {path} cannot be read ({error}): replace the file.") from error
    wrong = (values < 0) | (values > 255)
    labels = table[np.where(wrong, 0, values)]
    wrong |= labels == UNKNOWN
    if wrong.any():
        raise SourceError(
            f"the label file {path} holds the value {values[wrong][0]}, which means nothing in this data set; it knows "
            f"{ranges(np.flatnonzero(table != UNKNOWN))}: take the index files of the data set."
        )
    return labels


def ranges(values: NDArray[np.int64]) -> str:
    """Rising numbers as text: "0 to 11, 255"."""
    parts = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts)


def index_table(mapping: dict[int, int], void: Iterable[int]) -> NDArray[np.uint8]:
    """A table, uint8 [256], from the value in a label file to the class index, `IGNORE` for the values `void`."""
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    table[list(void)] = IGNORE
    for value, index in mapping.items():
        table[value] = index
    return table


def from_pairs(
    name: str, split: str, classes: tuple[str, ...], pairs: list[tuple[Path, Path]], table: NDArray[np.uint8]
) -> Dataset:
    """A data set of (image file, label file) pairs."""

    def read(index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        image = read_image(pairs[index][0])
        labels = read_labels(pairs[index][1], table)
        if image.shape[:2] != labels.shape:
            raise SourceError(
                f"the image {pairs[index][0].name} is {image.shape[1]}x{image.shape[0]} but its labels are "
                f"{labels.shape[1]}x{labels.shape[0]}: both must have one size."
            )
        return image, labels

    return Dataset(name, split, classes, tuple(image.name for image, _ in pairs), read)


def images_in(folder: Path, data_set: str, looked_for: str) -> list[Path]:
    """Every image file in `folder`, sorted by name; an error that tells the expected layout if there is none."""
    if not folder.is_dir():
        raise SourceError(f"no {data_set} here: looked for the folder {folder}; the layout expected is {looked_for}.")
    # macOS puts a hidden file of its own beside each file that it writes to a foreign disk.
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "." and p.is_file())
    if not found:
        raise SourceError(
            f"no images in {folder}: looked for files ending in {', '.join(SUFFIXES)}; "
            f"the {data_set} layout is {looked_for}."
        )
    return found


def check_split(data_set: str, split: str, splits: tuple[str, ...]) -> None:
    """Refuse a split that the data set does not have."""
    if split not in splits:
        raise UsageError(f"{data_set} has no split {split!r}: the splits are {', '.join(splits)}.")
