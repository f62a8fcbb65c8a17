"""Palettes: the datasets' own colours, and colours that stay apart in any kind of sight."""

from __future__ import annotations

import numpy as np
import pytest

from segstream.errors import UsageError
from segstream.palettes import CAMVID, CITYSCAPES, PALETTES, SAFE, distinct, palette, sights
from segstream.scenes import CLASSES


def nearest_pair(colours: np.ndarray) -> float:
    """Smallest CIELAB distance of two colours over four kinds of sight."""
    seen = sights(colours)
    gaps = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=-1)
    return float(gaps[:, ~np.eye(len(colours), dtype=bool)].min())


def test_dataset_palettes_are_the_published_ones() -> None:
    assert tuple(CAMVID) == CLASSES
    assert palette("camvid", CLASSES).tolist() == [list(c) for c in CAMVID.values()]
    assert palette("cityscapes", list(CITYSCAPES)).tolist() == [list(c) for c in CITYSCAPES.values()]


def test_the_same_thing_has_the_same_colour_under_another_datasets_name() -> None:
    by_name = dict(zip(CLASSES, palette("cityscapes", CLASSES).tolist(), strict=True))
    assert by_name["Pavement"] == list(CITYSCAPES["sidewalk"])
    assert by_name["Tree"] == list(CITYSCAPES["vegetation"])


def test_safe_palette_stays_apart_for_colour_blind_eyes() -> None:
    assert nearest_pair(palette("safe", CLASSES)) > 12
    assert nearest_pair(palette("camvid", CLASSES)) < 12  # what it is for
    assert len(SAFE) == len(CLASSES)


@pytest.mark.parametrize("count", [1, 2, 19, 66])
def test_distinct_colours_for_any_number_of_classes(count: int) -> None:
    colours = distinct(count)
    assert colours.shape == (count, 3) and colours.dtype == np.uint8
    assert len(np.unique(colours, axis=0)) == count
    if 1 < count < 20:
        assert nearest_pair(colours) > 12


@pytest.mark.parametrize("name", PALETTES)
def test_unknown_classes_get_colours_of_their_own(name: str) -> None:
    colours = palette(name, ["sky", "camel", "road", "igloo"])
    assert len(np.unique(colours, axis=0)) == 4
    assert palette(name, []).shape == (0, 3)


def test_sight_of_white_and_black_is_theirs() -> None:
    lab = sights(np.array([[255.0, 255, 255], [0, 0, 0]]))
    assert np.allclose(lab[:, 0], [100, 0, 0], atol=0.7)
    assert np.allclose(lab[:, 1], 0, atol=0.7)


def test_unknown_palette_is_told() -> None:
    with pytest.raises(UsageError, match="camvid, cityscapes, safe"):
        palette("rainbow", CLASSES)
