"""The drawn street: the same call draws the same picture, its labels are true, and its video moves smoothly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segstream.errors import UsageError
from segstream.scenes import CLASSES, render
from segstream.scenes.layout import _cast
from segstream.scenes.looks import make_look
from segstream.scenes.textures import rough


def test_same_call_draws_the_same_picture_whatever_was_drawn_before() -> None:
    image, labels = render(37, 320, 192, seed=5)
    render(4, 320, 192, seed=5)
    render(37, 160, 96, seed=6)
    from segstream import scenes

    scenes._scenery.cache_clear()
    scenes._look.cache_clear()
    _cast.cache_clear()
    rough.cache_clear()
    again, labels_again = render(37, 320, 192, seed=5)
    assert np.array_equal(image, again)
    assert np.array_equal(labels, labels_again)


@settings(max_examples=12, deadline=None)
@given(
    index=st.integers(0, 100_000),
    width=st.integers(32, 400),
    height=st.integers(32, 400),
    seed=st.integers(0, 5),
)
def test_any_size_and_any_time(index: int, width: int, height: int, seed: int) -> None:
    image, labels = render(index, width, height, seed)
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
    assert labels.shape == (height, width) and labels.dtype == np.uint8
    assert labels.max() < len(CLASSES)
    assert image.flags.c_contiguous and labels.flags.c_contiguous


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_class_occurs_and_the_street_looks_like_one(seed: int) -> None:
    pixels = np.zeros(len(CLASSES))
    for index in range(0, 600, 60):
        _, labels = render(index, 480, 272, seed)
        pixels += np.bincount(labels.reshape(-1), minlength=len(CLASSES))
        assert np.isin(labels[0], [0, 1, 2, 5, 6]).mean() > 0.95  # above: sky, houses, trees, poles, signs
        assert np.isin(labels[-1], [3, 4, 8]).mean() > 0.8  # below: road, pavement, cars
    share = pixels / pixels.sum()
    assert (share > 0.0003).all(), dict(zip(CLASSES, share.round(5), strict=True))
    assert 0.15 < share[CLASSES.index("Road")] < 0.5


def test_labels_are_true_for_what_is_drawn() -> None:
    """Where the label is sky the picture has the sky's colours, and trees are greener than the road."""
    image, labels = render(12, 480, 272, seed=0)
    sky, road, tree = (image[labels == k].astype(float).mean(axis=0) for k in (0, 3, 5))
    assert sky[2] > sky[0] + 20 and sky.mean() > road.mean() + 40
    assert tree[1] > tree[0] + 10 and tree[1] > tree[2] + 10
    assert np.ptp(road) < 25


@pytest.mark.parametrize("seed", [0, 3])
def test_video_is_continuous(seed: int) -> None:
    """From one picture to the next far less changes than between pictures two seconds apart."""
    frames = [render(200 + k, 480, 272, seed) for k in range(12)]
    steps = [float((a[1] != b[1]).mean()) for a, b in pairwise(frames)]
    later = float((frames[0][1] != render(260, 480, 272, seed)[1]).mean())
    assert 0.0 < max(steps) < 0.12
    assert float(np.median(steps)) < 0.35 * later


def test_seeds_are_different_towns() -> None:
    looks = [make_look(seed) for seed in range(12)]
    assert len({look.light for look in looks}) > 6
    assert {look.side for look in looks} == {-1, 1}
    first, second = render(0, 160, 96, seed=1)[0], render(0, 160, 96, seed=2)[0]
    assert np.abs(first.astype(int) - second).mean() > 15


@pytest.mark.parametrize(("arguments", "words"), [((0, 16, 100), "at least 32"), ((-1, 64, 64), "starts at 0")])
def test_bad_arguments_are_told(arguments: tuple[int, int, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        render(*arguments)


def test_houses_and_ground_alone_have_no_other_labels() -> None:
    """Where textures meet, their labels must not blend into a third class."""
    from segstream import scenes
    from segstream.scenes.camera import View
    from segstream.scenes.layout import draw_lots

    look, scenery = scenes._look(0), scenes._scenery(0, 480, 272)
    for second in range(0, 30, 3):
        view = View.at(second, 480, 272, look)
        canvas = scenery.backdrop(view)
        scenery.ground(canvas, view)
        draw_lots(canvas, view, look, scenery)
        assert set(np.unique(canvas[..., 3])) <= {0, 1, 3, 4, 5, 7}
