"""The pixels of every view, and the worker that makes them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from segstream.ui import geometry
from segstream.ui.compose import Request, compose
from segstream.ui.newest import NewestWorker
from tests.ui.helpers import make_result


def request(view: str, alpha: float = 0.5, hidden: tuple[int, ...] = (), canvas: tuple[int, int] = (64, 36)) -> Request:
    result = make_result()
    return Request(result, result.palette, frozenset(hidden), view, alpha, geometry.fit((64, 36), canvas))


def test_source_shows_the_frame_itself() -> None:
    picture = compose(request("source"))
    assert picture.painted is None and picture.source is not None
    assert np.array_equal(picture.source[..., 2::-1], picture.request.result.frame.image)


def test_mask_shows_the_palette() -> None:
    picture = compose(request("mask"))
    assert picture.source is None and picture.painted is not None
    assert picture.painted[0, 0, 2::-1].tolist() == [200, 100, 0]
    assert picture.painted[-1, -1, 2::-1].tolist() == [0, 50, 250]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_overlay_mixes_by_opacity(alpha: float) -> None:
    picture = compose(request("overlay", alpha))
    result = picture.request.result
    colours = result.palette[result.labels].astype(float)
    expected = (1 - alpha) * result.frame.image + alpha * colours
    assert picture.painted is not None
    assert np.abs(picture.painted[..., 2::-1] - expected).max() <= 1.0


def test_a_hidden_class_keeps_the_frame() -> None:
    picture = compose(request("overlay", 1.0, hidden=(0,)))
    image = picture.request.result.frame.image
    assert picture.painted is not None
    assert np.array_equal(picture.painted[:, :32, 2::-1], image[:, :32])
    assert (picture.painted[:, 32:, 2::-1] == [0, 50, 250]).all()


def test_split_has_both_sides() -> None:
    picture = compose(request("split"))
    assert picture.source is not None and picture.painted is not None
    assert picture.source.shape == picture.painted.shape == (36, 64, 4)


def test_only_what_is_visible_is_made_at_the_size_it_is_shown_in() -> None:
    small = compose(request("overlay", canvas=(32, 18)))
    assert small.painted is not None and small.painted.shape == (18, 32, 4)
    result = make_result()
    place = geometry.zoomed(geometry.fit((64, 36), (640, 360)), 6, (320, 180))
    near = compose(Request(result, result.palette, frozenset(), "mask", 0.5, place))
    assert near.painted is not None
    assert near.painted.shape[1] <= 640 + 2 * place.scale and near.painted.shape[0] <= 360 + 2 * place.scale
    # The boundary between the classes is sharp at any zoom, and lies in the middle.
    row = near.painted[near.painted.shape[0] // 2, :, 0]
    changes = np.flatnonzero(np.diff(row.astype(int)))
    assert len(changes) == 1
    left = place.rect(*near.crop)[0]
    assert abs(left + changes[0] + 1 - place.to_device(32, 0)[0]) <= 1


def test_the_newest_job_wins_and_an_error_does_not_end_the_worker() -> None:
    done: list[int] = []
    errors: list[Exception] = []
    started, go, finished = threading.Event(), threading.Event(), threading.Event()

    def work(job: int) -> None:
        started.set()
        assert go.wait(5)
        if job == 0:
            raise ValueError("no")
        done.append(job)
        finished.set()

    worker = NewestWorker("test-newest", work, errors.append)
    worker.submit(0)
    assert started.wait(5)
    for job in (1, 2, 3):
        worker.submit(job)
    go.set()
    assert finished.wait(5)
    assert worker.close()
    assert done == [3] and len(errors) == 1
    assert not any(thread.name == "test-newest" for thread in threading.enumerate())
