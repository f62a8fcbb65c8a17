"""Pasting: only whole small things of rare classes are cut out, and picture and labels stay together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segstream.datasets import open_dataset
from segstream.training import data, setup
from segstream.training import paste as pasting
from segstream.training.config import MOST_PASTED
from segstream.training.data import Store
from segstream.training.losses import class_shares
from segstream.training.paste import LARGEST, RISE, SIDE, ZOOM, Objects, cut_objects, paste

SHARES = torch.tensor([0.96, 0.02, 0.01, 0.01], dtype=torch.float64)


def street(boxes: list[tuple[int, int, int, int, int]], size: tuple[int, int] = (120, 160)) -> torch.Tensor:
    """Labels uint8 [1, H, W] of class 0 with boxes (class, x, y, width, height)."""
    labels = torch.zeros(1, *size, dtype=torch.uint8)
    for kind, x, y, w, h in boxes:
        labels[0, y : y + h, x : x + w] = kind
    return labels


def painted(labels: torch.Tensor) -> torch.Tensor:
    """Images uint8 [N, 3, H, W] whose colour tells the class."""
    return (labels[:, None] * 60).expand(-1, 3, -1, -1).contiguous()


def objects_of(labels: torch.Tensor) -> Objects:
    objects = cut_objects(painted(labels), labels, SHARES)
    assert objects is not None
    return objects


def test_an_object_is_cut_out_whole_in_the_middle_of_its_picture() -> None:
    objects = objects_of(street([(1, 30, 40, 11, 20)]))
    assert objects.classes.tolist() == [1]
    assert objects.masks.sum() == 11 * 20
    assert set(objects.pictures[0, 0][objects.masks[0] > 0].tolist()) == {60}
    rows = objects.masks[0].sum(1).nonzero()[:, 0]
    assert abs(float(rows.float().mean()) - (SIDE - 1) / 2) <= 0.5
    assert float(objects.rows[0]) == pytest.approx((40 + 10) / 120)


@pytest.mark.parametrize(
    "box", [(1, 30, 40, 4, 6), (1, 2, 40, LARGEST, 20), (1, 30, 1, 20, LARGEST), (1, 1, 40, 20, 20)]
)
def test_the_smallest_and_the_largest_are_cut_out(box: tuple[int, int, int, int, int]) -> None:
    assert int(objects_of(street([box])).masks.sum()) == box[3] * box[4]


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ((1, 0, 40, 20, 20), "at the left border"),
        ((1, 140, 40, 20, 20), "at the right border"),
        ((1, 30, 100, 20, 20), "at the bottom"),
        ((1, 30, 0, 20, 20), "at the top"),
        ((1, 30, 40, 23, 1), "too small"),
        ((1, 30, 40, LARGEST + 1, 20), "too wide"),
        ((1, 30, 10, 20, LARGEST + 1), "too high"),
    ],
)
def test_nothing_else_is_cut_out(box: tuple[int, int, int, int, int], why: str) -> None:
    labels = street([box])
    assert cut_objects(painted(labels), labels, SHARES) is None, why


def test_only_rare_classes_are_cut_out() -> None:
    labels = street([(1, 30, 40, 20, 20), (2, 80, 40, 20, 20)])
    objects = cut_objects(painted(labels), labels, torch.tensor([0.5, 0.4, 0.02, 0.0]))
    assert objects is not None and objects.classes.tolist() == [2]


def test_each_class_comes_as_often_as_any_other() -> None:
    objects = objects_of(street([(1, 10, 40, 8, 8), (1, 30, 40, 8, 8), (1, 50, 40, 8, 8), (2, 70, 40, 8, 8)]))
    chances = torch.diff(objects.chances, prepend=torch.zeros(1))
    assert chances.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_of_very_many_objects_the_smaller_classes_keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pasting, "MOST_OBJECTS", 6)
    many = [(1, 10 + 14 * i, 40, 8, 8) for i in range(9)]
    objects = objects_of(street([*many, (2, 20, 80, 8, 8)]))
    assert objects.classes.tolist().count(1) == 5
    assert objects.classes.tolist().count(2) == 1


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), each=st.floats(0, MOST_PASTED))
def test_picture_and_labels_stay_together(seed: int, each: float) -> None:
    labels = street([(1, 30, 40, 11, 20), (1, 70, 60, 30, 12), (1, 110, 20, 9, 9)])
    objects = cut_objects(torch.full((1, 3, 120, 160), 60, dtype=torch.uint8), labels, SHARES)
    assert objects is not None
    empty = street([]).expand(4, -1, -1).contiguous()
    black, white = (torch.full((4, 3, 120, 160), value, dtype=torch.uint8) for value in (0, 255))
    dark, found = paste(black, empty, objects, each, torch.Generator().manual_seed(seed))
    bright, again = paste(white, empty, objects, each, torch.Generator().manual_seed(seed))
    assert dark.shape == (4, 3, 120, 160) and found.dtype == torch.uint8 and torch.equal(found, again)
    through = ((bright - dark) / 255)[:, 0]  # how much of what was there is still seen
    assert torch.allclose(dark[:, 0], 60 * (1 - through), atol=0.01)
    assert bool((through[found > 0] < 0.5).all())
    assert bool((through[found == 0] >= 0.499**MOST_PASTED).all())  # each object may cover half


def test_what_is_more_than_half_the_object_is_labelled_so() -> None:
    objects = objects_of(street([(1, 30, 40, 11, 20)]))
    empty = street([]).expand(60, -1, -1).contiguous()
    white = torch.full((60, 3, 120, 160), 255, dtype=torch.uint8)
    pictures = [
        paste(image, empty, objects, 0.2, torch.Generator().manual_seed(0))[0] for image in (white, painted(empty))
    ]
    labels = paste(white, empty, objects, 0.2, torch.Generator().manual_seed(0))[1]
    through = ((pictures[0] - pictures[1]) / 255)[:, 0]
    edges = (through > 0.05) & (through < 0.95)  # so few objects that hardly two of them meet
    assert edges.sum() > 100
    assert ((through < 0.5) == (labels > 0))[edges].float().mean() > 0.95


def test_each_object_brings_its_own_class() -> None:
    objects = objects_of(street([(1, 30, 40, 11, 20), (2, 70, 60, 30, 12), (3, 110, 20, 9, 9)]))
    empty = street([]).expand(20, -1, -1).contiguous()
    picture, labels = paste(painted(empty), empty, objects, 1.0, torch.Generator().manual_seed(0))
    assert set(labels.unique().tolist()) == {0, 1, 2, 3}
    # Edges are mixed with what was around an object and what it covers.
    assert ((picture[:, 0] - 60.0 * labels)[labels > 0].abs() < 1).float().mean() > 0.6
    assert picture[:, 0][labels == 0].mean() < 1


def test_an_image_gets_so_many_objects_on_average() -> None:
    objects = objects_of(street([(1, 30, 13, 4, 6)], (32, 1500)))
    empty = street([], (32, 1500)).expand(30, -1, -1).contiguous()
    generator = torch.Generator().manual_seed(0)
    none = paste(painted(empty), empty, objects, 0.0, generator)
    assert not none[0].any() and not none[1].any()
    for each in (2.0, float(MOST_PASTED)):
        labels = paste(painted(empty), empty, objects, each, generator)[1]
        # Pieces that hardly ever touch, on 1500 pixels.
        starts = torch.diff((labels > 0).any(1).int(), prepend=torch.zeros(30, 1, dtype=torch.int), dim=1) > 0
        assert abs(float(starts.sum()) / 30 - each) < 0.15 * each + 0.3


def test_objects_keep_their_distance_and_vary_in_size() -> None:
    objects = objects_of(street([(1, 60, 52, 20, 16)]))
    empty = street([]).expand(100, -1, -1).contiguous()
    pasted = paste(painted(empty), empty, objects, 1.0, torch.Generator().manual_seed(0))[1] > 0
    rows = [image.any(1).nonzero()[:, 0] for image in pasted if image.any()]
    heights = torch.tensor([float(row[-1] - row[0] + 1) for row in rows])
    single = (heights >= 16 / ZOOM - 1.1) & (heights <= 16 * ZOOM + 1.1)  # others are two of them in one image
    middles = torch.tensor([float(row[0] + row[-1] + 1) / 2 for row in rows])[single] / 120
    assert float(heights.min()) < 16 / 1.3 and float(heights[single].max()) > 16 * 1.3
    assert float((middles - 0.5).abs().max()) < RISE + 0.01 and float(middles.std()) > RISE / 3


def test_about_half_of_the_objects_are_mirrored() -> None:
    labels = street([(1, 60, 52, 20, 16), (0, 60, 52, 10, 8)])  # without its upper left quarter
    empty = street([]).expand(200, -1, -1).contiguous()
    # So few that hardly an image has two.
    pasted = paste(painted(empty), empty, objects_of(labels), 0.2, torch.Generator().manual_seed(0))[1] > 0
    whole = [image for image in pasted if image.any() and not image[:, 0].any() and not image[:, -1].any()]
    upper = [image[image.any(1).nonzero()[0, 0]].nonzero()[:, 0].float().mean() for image in whole]
    to_the_right = [
        float(x - image.any(0).nonzero()[:, 0].float().mean()) > 0 for x, image in zip(upper, whole, strict=True)
    ]
    assert len(whole) > 20 and 0.3 < sum(to_the_right) / len(whole) < 0.7


def test_objects_of_images_that_are_not_cached(signs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "SPLIT_LIMIT", 2)
    monkeypatch.setattr(data, "CACHE_SHARE", 0.0)
    store = Store(open_dataset("camvid", str(signs), "train"), torch.device("cpu"))
    assert not store.cached
    with pytest.warns(UserWarning, match="2 of the 4 images"):
        split = setup.whole_split(store, torch.device("cpu"))
    objects = cut_objects(split.images, split.labels, class_shares(split.labels, 11))
    assert objects is not None and len(objects.classes) == 2


def test_same_seed_same_pastes() -> None:
    objects = objects_of(street([(1, 30, 40, 11, 20)]))
    empty = street([]).expand(4, -1, -1).contiguous()
    first, second, other = (
        paste(painted(empty), empty, objects, 3.0, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)
