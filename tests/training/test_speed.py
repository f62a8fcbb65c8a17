"""The measuring of training speed, on configurations small enough for a processor."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner

from segstream.errors import UsageError
from segstream.training.speed import cases, main, make_job

TINY = {"crop": [128, 64], "batch": 2, "target": 0.5}


def write(folder: Path, stem: str, **settings: object) -> str:
    path = folder / f"{stem}.yaml"
    path.write_text(yaml.safe_dump({"name": stem, **TINY, **settings}))
    return str(path)


def test_configurations_are_measured_as_they_are_against_the_first(tmp_path: Path) -> None:
    dense = write(tmp_path, "whole", mode="dense")
    blocks = write(tmp_path, "cut", mode="reinforce", reward="borders", policy_loss="regression", subpixel=True)
    report = tmp_path / "speed.json"
    options = ["--device", "cpu", "--seconds", "0.01", "--json", str(report), "--config", dense, "--config", blocks]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    found = json.loads(report.read_text())
    speeds = found["images_per_second"]
    assert list(speeds) == ["whole", "cut"] and min(speeds.values()) > 0
    assert f"{speeds['cut'] / speeds['whole']:.2f} of whole" in result.output
    assert found["settings"]["cut"]["crop"] == [128, 64] and found["settings"]["cut"]["subpixel"] is True


@pytest.mark.parametrize(("setting", "count"), [({"teachers": ["one", "two"]}, 2), ({"taught_by": "one"}, 1)])
def test_options_win_and_random_networks_stand_in_for_teachers(
    setting: dict[str, object], count: int, tmp_path: Path
) -> None:
    settings = {**setting, "distill": 1.0, "pasted": 2}
    taught = write(tmp_path, "taught", mode="reinforce", reward="borders", **settings)
    (config,) = cases((taught,), False, {"crop": (64, 64)}).values()
    job, images, _ = make_job(config, torch.device("cpu"), graphs=False)
    assert config.crop == (64, 64) and images.shape == (2, 3, 60, 60)
    job.run_step(images, torch.zeros(2, 60, 60, dtype=torch.uint8), 0.1)
    assert len(job.teachers) == count and job.objects is not None and job.report()["distill"] > 0


def test_memory_is_measured_at_the_target() -> None:
    assert cases((), True, {"target": 0.4})["packed"].levels == (0.4,)


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = write(tmp_path, "one", mode="dense"), write(tmp_path, "other", name="one")
    with pytest.raises(UsageError, match="one name"):
        cases((one, other), False, {})
