"""The cost panel draws what was measured, on axes that can be read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segstream.ui.measurements import LENGTH, Measurements
from segstream.ui.plots import CostPanel, round_up
from segstream.ui.theme import DARK, LIGHT
from tests.ui.helpers import make_result


def measured(count: int) -> Measurements:
    measurements = Measurements()
    for i in range(count):
        result = replace(make_result(), high_share=0.25, gmacs=2.0, dense_gmacs=5.0)
        measurements.add(replace(result, timings={"policy": 4.0, "network": 30.0 + i % 3}), 0.05 * i)
    return measurements


@pytest.mark.parametrize("theme", [DARK, LIGHT])
def test_plots_and_sentence_show_the_measurements(qtbot: Any, theme: Any) -> None:
    panel, measurements = CostPanel(), measured(40)
    qtbot.addWidget(panel)
    panel.set_theme(theme)
    panel.draw(measurements)
    assert panel.sentence.text() == "25 % of blocks at high resolution:\n2.5 times less work than dense."
    assert [tile.value.text() for tile in (panel.latency, panel.share, panel.gmacs)] == ["34 ms", "25 %", "2.0 of 5.0"]
    assert panel.fps.value.text() == "20.0"
    whole, policy = (curve.getData() for curve in panel.latency.curves[:2])  # stacked, the sum behind
    assert np.allclose(whole[1], measurements.series("total_ms")) and np.allclose(policy[1], 4.0)
    assert whole[0][-1] == LENGTH - 1 and len(whole[0]) == 40  # the newest stands at the right edge
    assert np.allclose(panel.share.curves[0].getData()[1], 25.0)
    assert np.allclose(panel.gmacs.curves[0].getData()[1], 5.0) and np.allclose(panel.gmacs.curves[1].getData()[1], 2.0)
    assert [tile.scale.text() for tile in (panel.latency, panel.share, panel.gmacs)] == ["40 ms", "100 %", "5"]
    assert "policy" in panel.stages.text() and "network" in panel.stages.text()
    measurements.clear()
    panel.draw(measurements)
    assert panel.sentence.text() == "" and panel.latency.value.text() == "–" and panel.latency.scale.text() == ""


@pytest.mark.parametrize(
    ("value", "top"), [(0.0, 0.001), (1.0, 1.0), (1.2, 1.5), (8.3, 10.0), (36.0, 40.0), (512.0, 600.0)]
)
def test_axes_end_at_round_numbers(value: float, top: float) -> None:
    assert round_up(value) == pytest.approx(top)
