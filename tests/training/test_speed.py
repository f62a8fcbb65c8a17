"""The measuring of training speed, on configurations small enough for a processor."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from segstream.errors import UsageError
from segstream.training.speed import main

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


@pytest.mark.parametrize("settings", [{"teachers": ["other.safetensors"]}, {"name": "whole"}])
def test_what_cannot_be_measured_is_said(tmp_path: Path, settings: dict[str, object]) -> None:
    dense, other = write(tmp_path, "whole", mode="dense"), write(tmp_path, "other", **settings)
    result = CliRunner().invoke(main, ["--device", "cpu", "--config", dense, "--config", other])
    assert isinstance(result.exception, UsageError)
    assert ("teachers" if "teachers" in settings else "one name") in str(result.exception)
