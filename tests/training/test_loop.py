"""Going on with a training: only as it began."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segstream.errors import UsageError
from segstream.training.checkpoint import load_checkpoint, save_checkpoint
from segstream.training.loop import train
from tests.training.test_train import config, start


def test_a_training_does_not_go_on_under_other_settings(camvid: Path, tmp_path: Path) -> None:
    run, data = start(config(camvid, mode="dense"), tmp_path)
    assert not train([run], data, None, print, lambda: run.job.step == 1)
    other, _ = start(config(camvid, mode="dense", lr=0.5, jitter=0.0), tmp_path)
    with pytest.raises(
        UsageError, match=r"other settings: jitter \(0.3, now 0.0\), lr \(0.001, now 0.5\); give the same"
    ):
        other.resume()
    assert other.job.step == 0
    longer, _ = start(config(camvid, mode="dense", epochs=5.0), tmp_path)
    longer.resume()
    assert longer.job.step == 1


def test_what_a_checkpoint_is_too_old_to_know_it_went_without(camvid: Path, tmp_path: Path) -> None:
    run, data = start(config(camvid, mode="dense"), tmp_path)
    assert not train([run], data, None, print, lambda: run.job.step == 1)
    state = load_checkpoint(run.checkpoint, torch.device("cpu"))
    del state["config"]["lovasz"]
    save_checkpoint(run.checkpoint, state)
    same, _ = start(config(camvid, mode="dense"), tmp_path)
    same.resume()
    assert same.job.step == 1
    other, _ = start(config(camvid, mode="dense", lovasz=0.5), tmp_path)
    with pytest.raises(UsageError, match=r"lovasz \(0.0, now 0.5\)"):
        other.resume()
