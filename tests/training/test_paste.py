"""Pasting: only whole small things of rare classes are cut out, and picture and labels stay together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segstream.training import paste as pasting
from segstream.training.paste import SIDE, SLOTS, Objects, cut_objects, paste

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
    ("box", "why"),
    [
        ((0, 30, 40, 20, 20), "a common class"),
        ((1, 0, 40, 20, 20), "at the left border"),
        ((1, 140, 40, 20, 20), "at the right border"),
        ((1, 30, 100, 20, 20), "at the bottom"),
        ((1, 30, 0, 20, 20), "at the top"),
        ((1, 30, 40, 4, 5), "too small"),
        ((1, 30, 40, 96, 20), "too large"),
    ],
)
def test_nothing_else_is_cut_out(box: tuple[int, int, int, int, int], why: str) -> None:
    labels = street([box])
    assert cut_objects(painted(labels), labels, SHARES) is None, why


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


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), each=st.floats(0, SLOTS))
def test_picture_and_labels_stay_together(seed: int, each: float) -> None:
    objects = objects_of(street([(1, 30, 40, 11, 20), (2, 70, 60, 30, 12), (3, 110, 20, 9, 9)]))
    empty = street([]).expand(4, -1, -1).contiguous()
    picture, labels = paste(painted(empty), empty, objects, each, torch.Generator().manual_seed(seed))
    assert picture.shape == (4, 3, 120, 160) and labels.dtype == torch.uint8
    # Well within an object the colour is that of its class, but where one's soft edge lies over another of its class;
    # beyond all objects nothing has changed.
    inner = torch.nn.functional.max_pool2d(-labels[:, None].float(), 5, 1, 2)[:, 0]
    outer = torch.nn.functional.max_pool2d(labels[:, None].float(), 5, 1, 2)[:, 0]
    inside = torch.zeros_like(labels, dtype=torch.bool)
    inside[:, 3:-3, 3:-3] = True  # at the border there may be just the edge of an object
    same = (-inner == outer) & (labels > 0) & inside
    wrong = (picture[:, 0] - 60.0 * labels)[same].abs() >= 1
    assert wrong.sum() <= 0.1 * same.sum()
    assert not picture[:, 0][(outer == 0) & inside].any()


def test_every_slot_is_used_at_the_most_and_none_at_nothing() -> None:
    objects = objects_of(street([(1, 30, 40, 11, 20)]))
    empty = street([]).expand(8, -1, -1).contiguous()
    generator = torch.Generator().manual_seed(0)
    none = paste(painted(empty), empty, objects, 0.0, generator)
    assert not none[0].any() and not none[1].any()
    labels = paste(painted(empty), empty, objects, float(SLOTS), generator)[1]
    assert bool((labels > 0).flatten(1).any(1).all())
    # About as far away as it was: up to RISE of the height higher or lower, and up to ZOOM larger.
    rows = (labels > 0).any(2).any(0).nonzero()[:, 0]
    assert int(rows.min()) >= 50 - 0.06 * 120 - 15 - 1 and int(rows.max()) <= 50 + 0.06 * 120 + 15


def test_same_seed_same_pastes() -> None:
    objects = objects_of(street([(1, 30, 40, 11, 20)]))
    empty = street([]).expand(4, -1, -1).contiguous()
    first, second, other = (
        paste(painted(empty), empty, objects, 3.0, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)
