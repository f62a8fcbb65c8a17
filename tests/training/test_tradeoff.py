"""The trade-off is the mean over seeds, as a table, JSON and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from segstream.errors import OutputError, SourceError, UsageError
from segstream.training.tradeoff import main, points, read_results


def results(folder: Path, mode: str, seed: int, miou: float, name: str = "tiny", **settings: object) -> Path:
    policy = "dense" if mode == "dense" else "learned"
    rows = [
        {"policy": policy, "share": 0.2, "gmacs": 4.0, "miou": miou},
        {"policy": "low", "share": 0, "gmacs": 2.5, "miou": 0.5},
    ]
    shrunk = [{"size": [320, 240], "gmacs": 4.0, "miou": miou - 0.05}] if mode == "dense" else []
    path = folder / f"{name}-{mode}-{seed}.json"
    config = {"mode": mode, "seed": seed, "name": f"{name}-{seed}", **settings}
    made = {"name": config["name"], "dense_gmacs": 10.0, "rows": rows, "shrunk": shrunk, "config": config}
    path.write_text(json.dumps(made))
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


def test_recipes_of_one_mode_are_kept_apart(tmp_path: Path) -> None:
    files = [results(tmp_path, "reinforce", seed, 0.7 + 0.01 * seed, "long", lr=1e-3) for seed in (0, 1)]
    files += [results(tmp_path, "reinforce", seed, 0.6, "short", lr=1e-4) for seed in (0, 1)]
    done = CliRunner().invoke(main, [*map(str, files), "--plot", str(tmp_path / "t.png")])
    assert done.exit_code == 0, done.output
    found = {p.network: p for p in points(read_results(files)) if p.policy == "learned"}
    assert set(found) == {"reinforce long", "reinforce short"}
    assert found["reinforce long"].miou == pytest.approx(0.705) and found["reinforce short"].spread == 0
    assert {p.seeds for p in found.values()} == {2}


def test_seeds_may_start_from_files_of_their_own_and_know_other_settings(tmp_path: Path) -> None:
    """Results of different ages: what the older one did not know it went without."""
    files = [results(tmp_path, "reinforce", seed, 0.7, init=f"runs/x-{seed}/x-{seed}.safetensors") for seed in (0, 1)]
    made = json.loads(files[1].read_text())
    made["config"]["shuffled"] = 0.0
    made["config"]["taught_by"] = None
    files[1].write_text(json.dumps(made))
    found = [p for p in points(read_results(files)) if p.policy == "learned"]
    assert [(p.network, p.seeds) for p in found] == [("reinforce", 2)]
    files.append(results(tmp_path, "reinforce", 2, 0.7, "scratch"))
    assert len({p.network for p in points(read_results(files))}) == 2
    files = [results(tmp_path, "reinforce", seed, 0.7, "taught", taught_by=f"dense-{seed}") for seed in (0, 1)]
    assert {p.seeds for p in points(read_results(files))} == {2}


def test_a_training_counts_once(tmp_path: Path) -> None:
    path = results(tmp_path, "reinforce", 0, 0.7)
    with pytest.raises(UsageError, match="tiny-0 and tiny-0 are one recipe and one seed"):
        points(read_results([path, path]))
    made = json.loads(path.read_text())
    made["rows"].append({"policy": "learned", "share": 0.2017, "gmacs": 4.02, "miou": 0.71})
    path.write_text(json.dumps(made))
    found = [p for p in points(read_results([path])) if p.policy == "learned"]
    assert [(p.miou, p.seeds) for p in found] == [(0.7, 1), (0.71, 1)]


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_what_cannot_be_written_is_said(tmp_path: Path, option: str) -> None:
    path = str(results(tmp_path, "dense", 0, 0.75))
    done = CliRunner().invoke(main, [path, option, str(tmp_path / "missing" / "x.png")])
    assert isinstance(done.exception, OutputError) and "missing does not exist" in str(done.exception)
    assert "mIoU" not in done.output  # said before the work
    done = CliRunner().invoke(main, [path, "--plot", str(tmp_path / "x.odd")])
    assert isinstance(done.exception, OutputError) and ".png" in str(done.exception)


def test_other_files_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "x.json"
    wrong.write_text("{}")
    with pytest.raises(SourceError, match="no results"):
        points(read_results([wrong]))
