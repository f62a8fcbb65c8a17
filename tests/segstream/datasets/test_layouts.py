"""Tiny data sets in each official layout, written by real encoders, read back; and wrong layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segstream.datasets import IGNORE, open_dataset
from segstream.errors import SourceError, UsageError

H, W = 12, 16


def write_image(path: Path, value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((H, W, 3), value, np.uint8)).save(path)


def write_labels(path: Path, values: list[int], palette: bool = False) -> None:
    """Labels in vertical stripes of the given values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.repeat(np.array(values, np.uint8), W // len(values))[None].repeat(H, 0)
    image = Image.fromarray(stripes, mode="P" if palette else "L")
    if palette:
        image.putpalette([(7 * i) % 256 for i in range(768)])
    image.save(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_camvid_reads_any_image_format(tmp_path: Path, suffix: str) -> None:
    for part in ("train", "val"):
        write_image(tmp_path / part / f"0001{suffix}")
        write_labels(tmp_path / f"{part}annot" / "0001.png", [0, 3, 10, 11])
    (tmp_path / "val" / "._0001.png").write_bytes(b"macOS puts such a file beside each")
    (tmp_path / "val" / "old.png").mkdir()
    data = open_dataset("camvid", tmp_path, "val")
    sample = data[0]
    assert len(data) == 1 and len(data.classes) == 11
    assert sample.image.shape == (H, W, 3) and abs(int(sample.image.mean()) - 90) < 3
    assert sample.labels[0, :: W // 4].tolist() == [0, 3, 10, IGNORE]
    assert len(open_dataset("camvid", tmp_path, "trainval")) == 2


def test_cityscapes_maps_label_ids_to_the_19_classes(tmp_path: Path) -> None:
    stem = "aachen_000000_000019"
    write_image(tmp_path / "leftImg8bit/train/aachen" / f"{stem}_leftImg8bit.png")
    write_labels(tmp_path / "gtFine/train/aachen" / f"{stem}_gtFine_labelIds.png", [7, 26, 33, 4])
    data = open_dataset("cityscapes", tmp_path, "train")
    assert len(data.classes) == 19
    assert data[0].labels[0, :: W // 4].tolist() == [0, 13, 18, IGNORE]


@pytest.mark.parametrize("value", [12, 77, 254])
def test_a_value_that_the_data_set_does_not_know_is_named(tmp_path: Path, value: int) -> None:
    write_image(tmp_path / "val/0001.png")
    write_labels(tmp_path / "valannot/0001.png", [0, 3, IGNORE, value])
    with pytest.raises(SourceError, match=rf"0001\.png holds the value {value}\b.*0 to 11, 255"):
        open_dataset("camvid", tmp_path, "val")[0]


def test_a_value_of_more_than_8_bits_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "val/0001.png")
    (tmp_path / "valannot").mkdir()
    Image.fromarray(np.full((H, W), 300, np.uint16)).save(tmp_path / "valannot/0001.png")
    with pytest.raises(SourceError, match="the value 300"):
        open_dataset("camvid", tmp_path, "val")[0]


@pytest.mark.parametrize("part", ["val", "valannot"])
def test_a_damaged_png_is_named(tmp_path: Path, part: str) -> None:
    """Pillow raises a SyntaxError for it."""
    for folder in ("train", "val"):
        write_image(tmp_path / folder / "0001.png")
        write_labels(tmp_path / f"{folder}annot" / "0001.png", [0, 3, 10, 11])
    path = tmp_path / part / "0001.png"
    data = path.read_bytes()
    at = data.index(b"IDAT") - 4
    path.write_bytes(data[:at] + bytes(40) + data[at + 40 :])
    with pytest.raises(SourceError, match=rf"{part}/0001\.png cannot be read .*: replace the file"):
        open_dataset("camvid", tmp_path, "val")[0]


def mapillary(folder: Path, config: str, labels: str, count: int) -> None:
    entries = [
        {"name": f"a--{i}", "readable": f"class {i}", "evaluate": i != 1, "color": [i, 0, 0]} for i in range(count)
    ]
    folder.mkdir(exist_ok=True)
    (folder / config).write_text(json.dumps({"labels": entries}))
    write_image(folder / "validation/images/x.jpg")
    write_labels(folder / "validation" / labels / "x.png", [0, 1, 2, 3], palette=True)


@pytest.mark.parametrize(
    ("name", "config", "labels"),
    [
        ("mapillary-v1.2", "config_v1.2.json", "v1.2/labels"),
        ("mapillary-v1.2", "config.json", "labels"),
        ("mapillary-v2.0", "config_v2.0.json", "v2.0/labels"),
        ("mapillary", "config_v2.0.json", "v2.0/labels"),
        ("mapillary", "config.json", "labels"),
    ],
)
def test_mapillary_takes_classes_from_its_config(tmp_path: Path, name: str, config: str, labels: str) -> None:
    mapillary(tmp_path, config, labels, 5)
    data = open_dataset(name, tmp_path, "val")
    assert data.classes == ("class 0", "class 2", "class 3", "class 4")
    assert data[0].labels[0, :: W // 4].tolist() == [0, IGNORE, 1, 2]


def test_demo_needs_no_folder() -> None:
    data = open_dataset("demo", None, "val")
    sample = data[0]
    assert sample.image.shape[:2] == sample.labels.shape and sample.labels.max() < len(data.classes)


@pytest.mark.parametrize("name", ["camvid", "cityscapes", "mapillary"])
def test_wrong_layout_says_what_was_looked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="looked for") as caught:
        open_dataset(name, tmp_path, "val")
    assert str(tmp_path) in str(caught.value)


def test_missing_labels_name_the_file(tmp_path: Path) -> None:
    write_image(tmp_path / "val/0001.png")
    write_labels(tmp_path / "valannot/0002.png", [0])
    with pytest.raises(SourceError, match=r"0001\.png"):
        open_dataset("camvid", tmp_path, "val")


def test_coloured_labels_and_other_sizes_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "val/a.png")
    write_image(tmp_path / "valannot/a.png")
    with pytest.raises(SourceError, match="colours"):
        open_dataset("camvid", tmp_path, "val")[0]
    Image.fromarray(np.zeros((H, W + 4), np.uint8)).save(tmp_path / "valannot/a.png")
    with pytest.raises(SourceError, match="one size"):
        open_dataset("camvid", tmp_path, "val")[0]


def test_unknown_names_list_the_allowed_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="camvid"):
        open_dataset("kitti", tmp_path, "val")
    with pytest.raises(UsageError, match="train, val"):
        open_dataset("demo", None, "test")
    with pytest.raises(UsageError, match="--data"):
        open_dataset("camvid", None, "val")
