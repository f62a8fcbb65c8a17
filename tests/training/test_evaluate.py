"""The command `training/evaluate.py` on drawn scenes: policies, budget, oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from segstream.training import losses, validate
from segstream.training.config import TrainConfig
from segstream.training.distributed import World
from segstream.training.evaluate import main
from segstream.training.result import finish
from segstream.training.setup import load_data
from segstream.training.train import make_run
from tests.training.test_train import config, start
from tests.training.test_validate import level

ROOT = Path(__file__).resolve().parents[2]


def evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "training" / "evaluate.py"), "untrained-rn18", "--dataset", "camvid"]
    return subprocess.run([*command, *arguments, "--device", "cpu"], capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize("policy", ["oracle", "heuristic"])
def test_command_measures_a_policy(policy: str, camvid: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = evaluate("--data", str(camvid), "--policy", policy, "--budget", "0.5", "--json", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["policy"] == policy and found["images"] == 1
    assert found["high_share"] == 0.5 if policy == "oracle" else found["high_share"] <= 0.5
    assert found["gmacs"] < found["dense_gmacs"]
    assert "mean" in done.stdout and "GMAC" in done.stdout


def test_command_says_what_is_missing(camvid: Path) -> None:
    done = evaluate("--data", str(camvid), "--policy", "oracle")
    assert done.returncode == 2 and "--budget" in done.stderr and "Traceback" not in done.stderr
    done = evaluate("--data", str(camvid), "--policy", "oracle", "--budget", "0.5", "--threshold", "0.2")
    assert done.returncode == 2 and "no threshold" in done.stderr
    done = evaluate("--data", str(camvid), "--policy", "heuristic", "--prior", "0.2")
    assert done.returncode == 2 and "only the oracle" in done.stderr
    done = evaluate("--data", str(camvid), "--policy", "high", "--json", "missing/figures.json")
    assert done.returncode == 4 and "missing does not exist" in done.stderr


@pytest.mark.parametrize("size", [None, (160, 80)])
def test_the_oracle_ranks_as_it_did_when_the_training_ended(
    size: tuple[int, int] | None, camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Tensor, Tensor, Tensor]] = []  # weights [K], prior [K] and scores [M, GH, GW] of each call
    ranks = validate.oracle_scores

    def watched(network: object, split: object, weights: Tensor, block: int, prior: Tensor) -> Tensor:
        scores = ranks(network, split, weights, block, prior)  # type: ignore[arg-type]
        asked.append((weights, prior, scores))
        return scores

    monkeypatch.setattr(validate, "oracle_scores", watched)
    more = {"class_weights": 0.9, "prior": 0.6, "input_size": size}
    settings = TrainConfig(mode="mixed", data_dir=str(camvid), encoder="efficientnet-lite1", crop=(128, 64), **more)  # type: ignore[arg-type]
    cpu = torch.device("cpu")
    data = load_data(settings, cpu)
    run = make_run(settings, data, cpu, tmp_path, World())
    finish(run.job, settings, data, tmp_path)
    command = [str(tmp_path / "swiftnet.safetensors"), "--data", str(camvid), "--policy", "oracle", "--budget", "0.5"]
    for options in ((), ("--class-weights", "0.3", "--prior", "0.2")):  # what the file says, and what the user does
        done = CliRunner().invoke(main, [*command, *options, "--device", "cpu"])
        assert done.exit_code == 0, done.output
    (weights, prior, scores), again, other = asked
    torch.testing.assert_close(other[0], losses.class_weights(data.shares, 0.3))
    torch.testing.assert_close(other[1], losses.class_prior(data.shares, 0.2))
    assert weights.std() > 0 and prior.std() > 0
    assert torch.equal(again[0], weights) and torch.equal(again[1], prior)
    torch.testing.assert_close(again[2], scores, atol=2e-2, rtol=2e-2)  # the file holds float16


@torch.no_grad()
def test_the_oracle_measures_as_the_other_policies_do(camvid: Path, tmp_path: Path) -> None:
    """Its figures stand beside theirs; and images of many shapes, each with a grid of its own, are no hindrance."""
    for part in ("train", "val"):
        for folder in (part, f"{part}annot"):
            (tmp_path / folder).mkdir()
            for i, size in enumerate(((240, 120), (60, 100))):
                with Image.open(camvid / folder / "0.png") as image:
                    image.resize(size, Image.Resampling.NEAREST).save(tmp_path / folder / f"{i}.png")
    settings = config(camvid, mode="mixed", input_size=(160, 80))
    run, data = start(settings, tmp_path)
    level(run.job.network, data.val.x(0, 64))
    finish(run.job, settings, data, tmp_path)
    command = [str(tmp_path / "tiny.safetensors"), "--data", str(tmp_path), "--device", "cpu"]
    found = []
    for options in (("oracle", "--budget", "1"), ("high",), ("oracle", "--budget", "0.4")):
        done = CliRunner().invoke(main, [*command, "--policy", *options, "--json", str(tmp_path / "found.json")])
        assert done.exit_code == 0, done.output
        found.append(json.loads((tmp_path / "found.json").read_text()))
    every, high, some = found
    assert every["pixel_accuracy"] == pytest.approx(high["pixel_accuracy"], abs=0.002) and every["images"] == 2
    assert every["gmacs"] == pytest.approx(high["gmacs"]) == pytest.approx(high["dense_gmacs"])
    assert some["high_share"] == pytest.approx(0.4, abs=0.03) and some["gmacs"] < some["dense_gmacs"]
    assert some["dense_gmacs"] == pytest.approx(high["dense_gmacs"])
