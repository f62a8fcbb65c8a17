"""The figures that a training ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from segstream import flops
from segstream.models import load_model
from segstream.models.registry import untrained_model
from segstream.training.result import FEWER_GMACS, finish, share_at
from tests.training.test_train import config, start


@pytest.mark.parametrize("shallow", [(), (1, 2, 3, 4)])
def test_policies_are_compared_at_60_percent_fewer_gmac(shallow: tuple[int, ...]) -> None:
    costs = flops.measure(untrained_model(subpixel=True, shallow=shallow), 64)
    share = share_at(FEWER_GMACS, costs, 6, 8)
    many = 1000  # so that a share is nearly a whole number of blocks
    gmacs = costs.gmacs(6, 8, round(share * 48 * many), "learned", many) / many
    assert gmacs == pytest.approx(0.4 * costs.dense_gmacs(6, 8), rel=1e-4)
    assert share == pytest.approx(0.272 if shallow else 0.181, abs=1e-3)
    assert share_at(0.01, costs, 6, 8) == 0.0 and share_at(2.0, costs, 6, 8) == 1.0


def test_figures_and_model_file_are_of_the_size_that_the_network_sees(camvid: Path, tmp_path: Path) -> None:
    run, data = start(config(camvid, mode="dense", input_size=(160, 80)), tmp_path)
    found = finish(run.job, run.config, data, tmp_path)
    model = load_model(str(tmp_path / "tiny.safetensors"))
    assert model.spec.size == (160, 80)
    dense = flops.measure(model, 64).dense_gmacs(2, 3)
    assert found["dense_gmacs"] == dense and found["rows"][0]["gmacs"] == pytest.approx(dense)
    assert [row["size"] for row in found["shrunk"]] == [[64, 40], [96, 52], [128, 64]]
    assert found["shrunk"][2]["gmacs"] == pytest.approx(dense * 128 * 64 / (192 * 128))
