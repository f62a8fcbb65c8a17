"""The overlay: right colours in the right places, a grid round the high blocks only, text that fits any picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segstream.errors import UsageError
from segstream.frames import Frame, Result
from segstream.overlay import VIEWS, draw, line_width, stats_parts, text_size
from segstream.palettes import palette
from segstream.scenes import CLASSES, render

PALETTE = palette("camvid", CLASSES)


def result(h: int, w: int, blocks: np.ndarray, seed: int = 0) -> Result:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, len(CLASSES), (8, 8)).astype(np.uint8)
    labels = coarse[np.arange(h)[:, None] * 8 // h, np.arange(w)[None] * 8 // w]
    image = random.integers(0, 256, (h, w, 3)).astype(np.uint8)
    return Result(
        frame=Frame(image, dropped=3),
        labels=labels,
        blocks=blocks,
        block_px=(h / blocks.shape[0], w / blocks.shape[1]),
        classes=CLASSES,
        palette=PALETTE,
        high_share=float(blocks.mean()),
        gmacs=3.25,
        dense_gmacs=8.0,
        timings={"policy": 1.0, "network": 20.0},
        model="swiftnet-rn18-camvid",
        policy="heuristic",
    )


def test_mask_has_the_exact_class_colours() -> None:
    one = result(96, 160, np.ones((3, 5), bool))
    assert np.array_equal(draw(one, view="mask", grid=False), PALETTE[one.labels])


def test_unlabelled_pixels_are_black() -> None:
    one = result(32, 32, np.zeros((1, 1), bool))
    one.labels = np.full((32, 32), 255, np.uint8)
    assert not draw(one, view="mask", grid=False).any()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_overlay_blends_by_alpha(alpha: float) -> None:
    one = result(96, 160, np.ones((3, 5), bool))
    expected = alpha * PALETTE[one.labels] + (1 - alpha) * one.frame.image
    assert np.abs(draw(one, alpha=alpha, grid=False) - expected).max() <= 1


def test_source_view_is_the_frame_and_split_is_half_of_each() -> None:
    one = result(96, 160, np.ones((3, 5), bool))
    source = draw(one, view="source")
    assert np.array_equal(source, one.frame.image) and source is not one.frame.image
    split = draw(one, view="split", grid=False)
    assert np.array_equal(split[:, :75], one.frame.image[:, :75])
    assert np.array_equal(split[:, 85:], draw(one, grid=False)[:, 85:])


@settings(max_examples=60, deadline=None)
@given(
    h=st.integers(1, 300),
    w=st.integers(1, 300),
    gh=st.integers(1, 6),
    gw=st.integers(1, 6),
    seed=st.integers(0, 99),
    view=st.sampled_from(VIEWS),
    texts=st.booleans(),
)
def test_any_size_and_grid(h: int, w: int, gh: int, gw: int, seed: int, view: str, texts: bool) -> None:
    blocks = np.random.default_rng(seed).random((gh, gw)) < 0.5
    one = result(h, w, blocks, seed)
    before = one.frame.image.copy()
    picture = draw(one, view=view, legend=texts, stats=texts)
    assert picture.shape == (h, w, 3) and picture.dtype == np.uint8
    assert np.array_equal(one.frame.image, before)


@settings(max_examples=40, deadline=None)
@given(gh=st.integers(1, 5), gw=st.integers(1, 6), seed=st.integers(0, 99))
def test_grid_lines_stand_round_high_blocks_and_nowhere_else(gh: int, gw: int, seed: int) -> None:
    blocks = np.random.default_rng(seed).random((gh, gw)) < 0.4
    h, w = gh * 40, gw * 40
    one = result(h, w, blocks, seed)
    plain, lined = draw(one, view="mask", grid=False), draw(one, view="mask", grid=True)
    changed = (plain != lined).any(axis=-1)
    reach = 3 * line_width(h, w)
    for gy in range(gh):
        for gx in range(gw):
            y, x = gy * 40, gx * 40
            inner = changed[y + reach : y + 40 - reach, x + reach : x + 40 - reach]
            assert not inner.any()
            if blocks[gy, gx]:
                white = (lined[y : y + 40, x : x + 40] == 255).all(axis=-1)
                assert (
                    white[:reach].any() and white[-reach:].any() and white[:, :reach].any() and white[:, -reach:].any()
                )
    if not blocks.any():
        assert not changed.any()


def test_low_blocks_are_darker_than_high_ones_in_the_overlay() -> None:
    blocks = np.array([[True, False]])
    one = result(64, 128, blocks)
    plain, lined = draw(one, grid=False).astype(int), draw(one, grid=True).astype(int)
    assert np.array_equal(plain[8:-8, 8:56], lined[8:-8, 8:56])
    assert lined[8:-8, 72:120].mean() == pytest.approx(plain[8:-8, 72:120].mean() * 0.8, rel=0.02)


@pytest.mark.parametrize(("w", "h", "least"), [(640, 360, 12), (1280, 720, 24), (3840, 2160, 70), (360, 640, 9)])
def test_lettering_grows_with_the_picture(w: int, h: int, least: int) -> None:
    assert text_size(h, w) >= least
    image, labels = render(3, w, h)
    one = result(h, w, np.ones((2, 3), bool))
    one.frame, one.labels = Frame(image), labels
    plain, lettered = draw(one, grid=False), draw(one, grid=False, legend=True, stats=True)
    changed = (plain != lettered).any(axis=-1)
    assert changed[: h // 2, : w // 2].any(), "the legend is in the top left corner"
    changed = (plain != draw(one, grid=False, stats=True)).any(axis=-1)
    rows = np.flatnonzero(changed.any(axis=1))
    assert rows[0] > h * 0.85 and least < rows[-1] - rows[0] < 0.12 * h, "the line is at the foot"
    # The letters are bright on a dark plate, so that they can be read on any picture.
    plate = lettered[rows[0] : rows[-1], text_size(h, w) // 2 + 2 : w // 4]
    assert plate.max() > 225 and np.median(plate) < 100


def test_the_line_of_figures_says_what_counts() -> None:
    parts = stats_parts(result(64, 64, np.array([[True, False]])))
    assert parts == ["50% of blocks high", "3.2 of 8.0 GMAC", "21 ms", "3 dropped", "heuristic", "swiftnet-rn18-camvid"]


@pytest.mark.parametrize(("options", "words"), [({"view": "x-ray"}, "overlay, mask"), ({"alpha": 1.5}, "from 0 to 1")])
def test_bad_options_are_told(options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        draw(result(32, 32, np.ones((1, 1), bool)), **options)
