"""From frame to network input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segstream.errors import UsageError
from segstream.geometry import check_image, fit, scale_image, to_input


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    size=st.sampled_from([(480, 360), (1024, 512), (64, 64)]),
    block=st.sampled_from([64, 128]),
    exact=st.booleans(),
)
def test_content_fits_the_blocks(height: int, width: int, size: tuple[int, int], block: int, exact: bool) -> None:
    g = fit((height, width), size, block, exact)
    assert g.content[0] % 4 == 0 and g.content[1] % 4 == 0
    assert g.network[0] - block < g.content[0] <= g.network[0]
    assert g.network[1] - block < g.content[1] <= g.network[1]
    if exact:
        assert g.content[0] <= size[1] + 4 and g.content[1] <= size[0] + 4
    reach = g.block_px[0] * g.rows, g.block_px[1] * g.columns
    assert reach[0] >= height - 1e-6 and reach[1] >= width - 1e-6


def test_the_frame_keeps_its_shape() -> None:
    assert fit((360, 480), (480, 360), 64).content == (360, 480)
    g = fit((540, 960), (480, 360), 64)
    assert g.content[1] / g.content[0] == pytest.approx(960 / 540, rel=0.02)
    assert g.content[0] * g.content[1] == pytest.approx(480 * 360, rel=0.02)
    assert fit((512, 1024), (1024, 512), 128, exact=True).network == (512, 1024)


def test_input_is_normalised_and_padded_with_zero() -> None:
    image = np.full((360, 480, 3), 255, np.uint8)
    g = fit((360, 480), (480, 360), 64)
    x = to_input(image, g, (0.5, 0.5, 0.5), (0.25, 0.5, 1.0))
    assert x.shape == (1, 3, 384, 512)
    assert [float(x[0, c, 0, 0]) for c in range(3)] == pytest.approx([2.0, 1.0, 0.5])
    assert not x[:, :, 360:].any() and not x[:, :, :, 480:].any()


def test_a_frame_is_scaled_into_the_array_given() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 151, 3), np.uint8)
    for size in ((64, 48), (320, 200)):
        g = fit((100, 151), size, 64, exact=True)
        out = np.zeros((*g.content, 3), np.uint8)
        assert scale_image(image, g, out) is out
        assert np.array_equal(out, scale_image(image, g))
        turned = np.ascontiguousarray(image[::-1])[::-1]  # rows from last to first in memory
        assert scale_image(turned, g, out) is out and np.array_equal(out, scale_image(image, g))
    same = fit((100, 152), (152, 100), 64, exact=True)
    assert same.content == (100, 152)
    whole = np.ascontiguousarray(np.pad(image, ((0, 0), (0, 1), (0, 0))))
    assert scale_image(whole, same, np.zeros_like(whole)) is whole


@pytest.mark.parametrize(
    "image",
    [None, [[1]], np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_image_is_refused(image: object) -> None:
    with pytest.raises(UsageError, match=r"uint8 \[H, W, 3\]"):
        check_image(image)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="100000x100000"):
        fit((100000, 100000), (480, 360), 64)
    with pytest.raises(UsageError, match="network size"):
        fit((100, 100), (4, 4), 64)
