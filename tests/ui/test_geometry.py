"""Zoom, pan and grid lines: what lies under the cursor stays there, and every edge of a high block is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segstream.ui import geometry

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
aspects = st.sampled_from([1.0, 64 / 45, 0.7])
grids = (
    st.integers(0, 2**32 - 1)
    .map(lambda seed: np.random.default_rng(seed))
    .map(lambda rng: rng.random((rng.integers(1, 7), rng.integers(1, 9))) < 0.4)
)


@given(sizes, sizes, aspects)
def test_the_whole_frame_fits_and_fills_one_side(
    frame: tuple[int, int], canvas: tuple[int, int], aspect: float
) -> None:
    place = geometry.fit(frame, canvas, aspect)
    gaps = [canvas[i] - place.scales[i] * frame[i] for i in (0, 1)]
    assert min(gaps) >= -1e-6 and abs(min(gaps)) < 1e-6
    assert place.visible() == (0, 0, *frame)


@given(sizes, sizes, aspects, st.floats(1.1, 8), st.floats(0.2, 0.8), st.floats(0.2, 0.8))
def test_zooming_keeps_the_spot_under_the_cursor(
    frame: tuple[int, int], canvas: tuple[int, int], aspect: float, factor: float, part_x: float, part_y: float
) -> None:
    start = geometry.fit(frame, canvas, aspect)
    at = start.to_device(part_x * frame[0], part_y * frame[1])
    place = geometry.zoomed(start, factor, at)
    for axis in (0, 1):
        if place.scales[axis] * frame[axis] > canvas[axis] and place == geometry.held(place):
            spot = place.to_frame(*at)[axis]
            inside = (1 - geometry._MARGIN) * canvas[axis] - place.scales[axis] * frame[axis] < (place.x, place.y)[axis]
            if inside and (place.x, place.y)[axis] < geometry._MARGIN * canvas[axis]:
                assert abs(spot - (part_x, part_y)[axis] * frame[axis]) < 1e-3 * frame[axis]
    assert geometry.zoomed(place, 1e-9, at) == start


@given(sizes, sizes, aspects, st.floats(1, 50), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_a_picture_never_leaves_the_window(
    frame: tuple[int, int], canvas: tuple[int, int], aspect: float, factor: float, dx: float, dy: float
) -> None:
    place = geometry.panned(geometry.zoomed(geometry.fit(frame, canvas, aspect), factor, (1, 1)), dx, dy)
    x0, y0, x1, y1 = place.visible()
    assert x1 > x0 and y1 > y0
    left, top, width, height = place.rect(x0, y0, x1, y1)
    assert left < canvas[0] and top < canvas[1] and left + width > 0 and top + height > 0


@pytest.mark.parametrize("aspect", [1.0, 64 / 45])
def test_a_resized_window_keeps_its_middle(aspect: float) -> None:
    place = geometry.zoomed(geometry.fit((1280, 720), (640, 360), aspect), 4, (400, 100))
    middle = place.to_frame(320, 180)
    after = geometry.moved(place, (1280, 720), (900, 600))
    assert np.allclose(after.to_frame(450, 300), middle)
    doubled = geometry.moved(place, (2560, 1440), (640, 360))
    assert np.allclose(doubled.to_frame(320, 180), [2 * v for v in middle])


def test_a_frame_is_shown_in_its_true_shape() -> None:
    place = geometry.fit((720, 576), (1024, 700), 64 / 45)
    assert place.rect(0, 0, 720, 576) == (0, 62, 1024, 576)
    assert place.to_device(360, 288) == pytest.approx((512, 350))
    assert place.to_frame(512, 350) == pytest.approx((360, 288))
    for other in (geometry.zoomed(place, 2, (512, 350)), geometry.moved(place, (720, 576), (500, 400))):
        across, down = other.scales
        assert across / down == pytest.approx(64 / 45)


@given(grids)
def test_lines_are_the_edges_of_high_blocks_each_once(blocks: np.ndarray) -> None:
    drawn: dict[tuple[str, int, int], int] = {}
    for x0, y0, x1, y1 in geometry.grid_lines(blocks).tolist():
        if y0 == y1:
            for x in range(x0, x1):
                drawn["h", y0, x] = drawn.get(("h", y0, x), 0) + 1
        else:
            assert x0 == x1
            for y in range(y0, y1):
                drawn["v", y, x0] = drawn.get(("v", y, x0), 0) + 1
    wanted = set()
    for y, x in np.argwhere(blocks).tolist():
        wanted |= {("h", y, x), ("h", y + 1, x), ("v", y, x), ("v", y, x + 1)}
    assert set(drawn) == wanted and set(drawn.values()) <= {1}


@given(grids)
def test_low_runs_cover_the_low_blocks_and_nothing_else(blocks: np.ndarray) -> None:
    covered = np.zeros_like(blocks, dtype=int)
    for row, start, end in geometry.low_runs(blocks):
        covered[row, start:end] += 1
    assert np.array_equal(covered, ~blocks)
