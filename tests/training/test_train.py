"""Whole trainings of a tiny network on a tiny data set: stopped and resumed, broken, run as a command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from segstream.errors import ModelError, UsageError
from segstream.models import read_model
from segstream.training.checkpoint import load_checkpoint, save_checkpoint
from segstream.training.config import TrainConfig, from_dict
from segstream.training.distributed import World
from segstream.training.loop import Run, train
from segstream.training.setup import Data, load_data
from segstream.training.train import make_run

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


def config(folder: Path, **more: object) -> TrainConfig:
    values = {
        "name": "tiny",
        "mode": "reinforce",
        "data_dir": str(folder),
        "encoder": "efficientnet-lite1",
        "crop": (128, 64),
        "batch": 2,
        "epochs": 2.0,
        "evaluations": 2,
        "target": 0.5,
        "warmup": 2,
    }
    return TrainConfig(**{**values, **more})  # type: ignore[arg-type]


def start(settings: TrainConfig, out: Path) -> tuple[Run, Data]:
    data = load_data(settings, CPU)
    return make_run(settings, data, CPU, out, World()), data


def test_stopped_and_resumed_equals_uninterrupted(camvid: Path, tmp_path: Path) -> None:
    settings = config(camvid)
    whole, data = start(settings, tmp_path / "whole")
    assert train([whole], data, None, print, lambda: False)

    first, data = start(settings, tmp_path / "parts")
    assert not train([first], data, None, print, lambda: first.job.step == 3)
    second, data = start(settings, tmp_path / "parts")
    second.resume()
    assert second.job.step == 3
    assert train([second], data, None, print, lambda: False)

    assert second.history == whole.history
    for (name, a), b in zip(
        whole.job.objective.state_dict().items(), second.job.objective.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    for a, b in zip(whole.job.averaged.state_dict().values(), second.job.averaged.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_loss_that_is_no_number_names_step_and_files(camvid: Path, tmp_path: Path) -> None:
    run, data = start(config(camvid, mode="dense", evaluations=1), tmp_path)
    with torch.no_grad():
        run.job.objective.network.logits.conv.bias.fill_(float("nan"))
    train([run], data, None, print, lambda: False)
    assert "step 0" in run.error and ".png" in run.error
    assert not run.checkpoint.exists()


def test_command_trains_saves_a_model_and_its_results(camvid: Path, tmp_path: Path) -> None:
    settings = tmp_path / "tiny.yaml"
    settings.write_text(
        "name: tiny\nmode: mixed\nencoder: efficientnet-lite1\ncrop: [128, 64]\nbatch: 2\nepochs: 1\nevaluations: 1\n"
        "levels: [0.5]\ntarget: 0.5\n"
    )
    command = [sys.executable, "training/train.py", "--config", str(settings), "--data", str(camvid), "--device", "cpu"]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    model = read_model(tmp_path / "out/tiny/tiny.safetensors")
    assert model.spec.encoder == "efficientnet-lite1" and model.spec.policy == "heuristic"
    results = json.loads((tmp_path / "out/tiny/results.json").read_text())
    assert {row["policy"] for row in results["rows"]} == {"high", "low", "random", "heuristic", "oracle"}
    assert list((tmp_path / "out/tiny/tensorboard").iterdir())
    wrong = subprocess.run([*command, "--set", "mode=fast"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2 and "mode" in wrong.stderr and "Traceback" not in wrong.stderr


def test_ctrl_c_saves_a_checkpoint(camvid: Path, tmp_path: Path) -> None:
    settings = tmp_path / "tiny.yaml"
    settings.write_text(
        "name: tiny\nmode: dense\nencoder: efficientnet-lite1\ncrop: [128, 64]\nbatch: 2\nepochs: 9999\n"
    )
    command = [sys.executable, "-u", "training/train.py", "--config", str(settings), "--data", str(camvid)]
    command += ["--device", "cpu", "--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stdout is not None
    assert "images" in process.stdout.readline()
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert load_checkpoint(tmp_path / "tiny/checkpoint.pt", CPU)["job"]["step"] >= 1


def test_checkpoint_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})
    with pytest.raises(Exception, match=r"pickle|Pickl|local"):
        save_checkpoint(path, {"step": lambda: None})
    assert load_checkpoint(path, CPU) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(path, CPU)
    with pytest.raises(ModelError, match="no checkpoint"):
        load_checkpoint(tmp_path / "none.pt", CPU)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(UsageError, match="epoch"):
        from_dict({"epoch": 3}, "x.yaml")
    with pytest.raises(UsageError, match="batch"):
        from_dict({"batch": "many"}, "x.yaml")
    with pytest.raises(UsageError, match="crop"):
        from_dict({"crop": [100, 64]}, "x.yaml")
