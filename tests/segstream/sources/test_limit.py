"""How many frames are left after a seek, when `max_frames` counts from the start."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from segstream.sources.limit import FrameLimit


def played(limit: FrameLimit, times: Sequence[float]) -> list[float]:
    """The times that are shown before the limit is reached."""
    shown = []
    for seconds in times:
        if limit.reached:
            break
        limit.count(seconds)
        shown.append(seconds)
    return shown


def test_uneven_times_that_were_met_are_counted_exactly() -> None:
    times = [0.0, 0.3, 4.0, 4.001, 50.0, 50.4]
    limit = FrameLimit(4)
    assert played(limit, times) == times[:4]
    for index in range(4):
        assert limit.seek(times[index], rate=25.0) is None
        assert played(limit, times[index:]) == times[index:4]
    assert limit.seek(50.0, rate=25.0) == 4.001
    assert played(limit, times[3:]) == [4.001]


@pytest.mark.parametrize("rate", [None, 10.0])
def test_places_that_were_not_met(rate: float | None) -> None:
    limit = FrameLimit(20, start=1.0)
    assert played(limit, [1.0, 1.1]) == [1.0, 1.1]
    assert limit.seek(2.0, rate) is None
    times = [2 + index / 10 for index in range(30)]
    # Number 10 by the rate; without one no more is known than that two frames come before it.
    assert len(played(limit, times)) == (10 if rate else 18)
    assert limit.seek(1.0, rate) is None
    assert played(limit, [1.0, 1.1]) == [1.0, 1.1]


def test_frames_before_the_start_are_not_of_the_limit() -> None:
    limit = FrameLimit(3, start=1.0)
    assert len(played(limit, [1.0, 1.1, 1.2, 1.3])) == 3
    assert limit.seek(0.5, 10.0) is None
    assert len(played(limit, [0.5 + index / 10 for index in range(20)])) == 8


def test_times_that_step_back_and_no_limit() -> None:
    limit = FrameLimit(6)
    assert len(played(limit, [5.0, 5.1, 0.0, 0.1, 0.2, 0.3, 0.4])) == 6
    limit = FrameLimit(None)
    assert len(played(limit, [index / 10 for index in range(50)])) == 50
    assert limit.seek(99.0, 10.0) is None and not limit.reached
