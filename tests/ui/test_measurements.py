"""The figures behind the plots, and the sentence."""

from __future__ import annotations

import pytest

from segstream.ui.measurements import LENGTH, Measurements, cost_sentence
from tests.ui.helpers import make_result


@pytest.mark.parametrize(
    ("share", "ratio", "sentence"),
    [
        (0.31, 2.1, "31 % of blocks at high resolution: 2.1 times less work than dense."),
        (1.0, 1.0, "100 % of blocks at high resolution: as much work as dense."),
        (1.0, 0.9, "100 % of blocks at high resolution: 1.1 times the work of dense."),
        (0.0, 0.0, "0 % of blocks at high resolution."),
    ],
)
def test_the_sentence(share: float, ratio: float, sentence: str) -> None:
    assert cost_sentence(share, ratio) == sentence


def test_rate_and_series() -> None:
    measurements = Measurements()
    assert measurements.sentence() == "" and measurements.last is None
    for i in range(100):
        result = make_result()
        result.timings = {"policy": 1.0, "network": float(i)}
        measurements.add(result, at=i * 0.05)
    assert measurements.last is not None and measurements.last.fps == pytest.approx(20)
    assert measurements.series("high_share").tolist() == [0.5] * 100
    assert list(measurements.stages()) == ["policy", "network"]
    assert measurements.series("total_ms")[-1] == 100.0
    assert measurements.sentence().endswith("2.0 times less work than dense.")


def test_a_pause_is_not_slowness() -> None:
    measurements = Measurements()
    for i in range(20):
        measurements.add(make_result(), at=i * 0.1)
    measurements.forget_rate()
    measurements.add(make_result(), at=100.0)
    measurements.add(make_result(), at=100.1)
    assert measurements.last is not None and measurements.last.fps == pytest.approx(10)


def test_the_ring_is_bounded() -> None:
    measurements = Measurements()
    for i in range(3 * LENGTH):
        measurements.add(make_result(), at=float(i))
    assert len(measurements) == LENGTH == len(measurements.series("fps"))
    measurements.clear()
    assert len(measurements) == 0
