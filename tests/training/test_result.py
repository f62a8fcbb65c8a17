"""The figures that a training ends with."""

from __future__ import annotations

import pytest

from segstream import flops
from segstream.models.registry import untrained_model
from segstream.training.result import FEWER_GMACS, share_at


@pytest.mark.parametrize("shallow", [(), (1, 2, 3, 4)])
def test_policies_are_compared_at_60_percent_fewer_gmac(shallow: tuple[int, ...]) -> None:
    costs = flops.measure(untrained_model(subpixel=True, shallow=shallow), 64)
    share = share_at(FEWER_GMACS, costs, 6, 8)
    many = 1000  # so that a share is nearly a whole number of blocks
    gmacs = costs.gmacs(6, 8, round(share * 48 * many), "learned", many) / many
    assert gmacs == pytest.approx(0.4 * costs.dense_gmacs(6, 8), rel=1e-4)
    assert share == pytest.approx(0.272 if shallow else 0.181, abs=1e-3)
    assert share_at(0.01, costs, 6, 8) == 0.0 and share_at(2.0, costs, 6, 8) == 1.0
