"""The trade-off is the mean over seeds, as a table, JSON and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from segstream.errors import SourceError
from segstream.training.tradeoff import main, points, read_results


def results(folder: Path, mode: str, seed: int, miou: float) -> Path:
    policy = "dense" if mode == "dense" else "learned"
    rows = [
        {"policy": policy, "share": 0.2, "gmacs": 4.0, "miou": miou},
        {"policy": "low", "share": 0, "gmacs": 2.5, "miou": 0.5},
    ]
    shrunk = [{"size": [320, 240], "gmacs": 4.0, "miou": miou - 0.05}] if mode == "dense" else []
    path = folder / f"{mode}-{seed}.json"
    path.write_text(
        json.dumps({"name": mode, "dense_gmacs": 10.0, "rows": rows, "shrunk": shrunk, "config": {"mode": mode}})
    )
    return path


def test_means_and_spread_over_seeds(tmp_path: Path) -> None:
    files = [
        results(tmp_path, "dense", 0, 0.7),
        results(tmp_path, "dense", 1, 0.72),
        results(tmp_path, "reinforce", 0, 0.71),
    ]
    done = CliRunner().invoke(
        main, [*map(str, files), "--json", str(tmp_path / "t.json"), "--plot", str(tmp_path / "t.png")]
    )
    assert done.exit_code == 0, done.output
    found = {(p["network"], p["policy"]): p for p in json.loads((tmp_path / "t.json").read_text())}
    dense = found["dense", "dense"]
    assert dense["miou"] == pytest.approx(0.71) and dense["spread"] == pytest.approx(0.0141, abs=1e-3)
    assert dense["seeds"] == 2 and dense["ratio"] == 0.4
    assert found["dense", "dense 320x240"]["miou"] == pytest.approx(0.66)
    assert found["reinforce", "learned"]["seeds"] == 1
    with Image.open(tmp_path / "t.png") as picture:
        assert picture.size[0] > 400


def test_other_files_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "x.json"
    wrong.write_text("{}")
    with pytest.raises(SourceError, match="no results"):
        points(read_results([wrong]))
