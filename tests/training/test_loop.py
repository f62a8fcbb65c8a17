"""Going on with a training: only as it began."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segstream.errors import OutputError, UsageError
from segstream.training.checkpoint import load_checkpoint, replace_file, save_checkpoint
from segstream.training.loop import Run, conclude, train
from tests.segstream.media import files_end_at
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


def rate(run: Run) -> float:
    """The learning rate of the last step."""
    return float(run.job.optimizer.param_groups[0]["lr"])


def test_a_clock_goes_on_where_it_stopped(camvid: Path, tmp_path: Path) -> None:
    """The learning rate does not rise again to what the steps alone would say."""
    settings = config(camvid, mode="dense", epochs=9999.0, warmup=1, evaluations=100)
    run, data = start(settings, tmp_path)
    end = time.monotonic() + 6
    assert not train([run], data, end, print, lambda: run.reached > 0.5)
    low, reached = rate(run), run.reached
    again, _ = start(settings, tmp_path)
    again.resume()
    assert again.reached == reached and again.evaluated == int(100 * reached + 1e-9)
    begun = again.job.step
    assert not train([again], data, None, print, lambda: again.job.step == begun + 1)
    assert rate(again) == pytest.approx(low, rel=0.2) and rate(again) < 0.6 * settings.lr
    last, _ = start(settings, tmp_path)
    last.resume()
    assert train([last], data, time.monotonic() + 2, print, lambda: False)
    assert last.reached >= 1 and rate(last) < low


def test_a_longer_training_is_evaluated_on_its_way(camvid: Path, tmp_path: Path) -> None:
    run, data = start(config(camvid, mode="dense", evaluations=2), tmp_path)  # four steps
    assert train([run], data, None, print, lambda: False)
    longer, _ = start(config(camvid, mode="dense", evaluations=4, epochs=4.0), tmp_path)
    longer.resume()
    assert train([longer], data, None, print, lambda: False)
    assert [entry["step"] for entry in longer.history] == [2, 4, 6, 8]
    done, _ = start(config(camvid, mode="dense", evaluations=4, epochs=4.0), tmp_path)
    done.resume()
    assert train([done], data, None, print, lambda: False)
    assert done.history == longer.history  # nothing is evaluated twice


def test_a_run_that_cannot_be_saved_does_not_keep_others_from_it(camvid: Path, tmp_path: Path) -> None:
    broken, data = start(config(camvid, mode="dense", name="broken"), tmp_path)
    good, _ = start(config(camvid, mode="dense", name="good"), tmp_path)
    broken.job.bad.fill_(0)  # a loss that was no number and was not reported yet
    assert not train([broken, good], data, None, print, lambda: good.job.step == 1)
    assert "not a number at step 0" in broken.error and not broken.checkpoint.exists()
    assert good.checkpoint.exists() and not good.error


def test_a_run_that_cannot_be_measured_does_not_keep_others_from_it(camvid: Path, tmp_path: Path) -> None:
    runs = [start(config(camvid, mode="dense", name=name, epochs=0.5), tmp_path) for name in ("full", "good")]
    (full, data), (good, _) = runs
    assert train([full, good], data, None, print, lambda: False)
    (tmp_path / "full" / "results.json").mkdir()  # nothing can be put in its place
    found = conclude([full, good], data, print)
    assert [one["name"] for one in found] == ["good"] and (tmp_path / "good" / "results.json").is_file()
    assert "results.json" in full.error


def test_results_are_json_where_a_class_does_not_occur(camvid: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(camvid, tmp_path / "camvid")
    for file in (folder / "valannot").iterdir():
        Image.fromarray(np.zeros((60, 120), np.uint8)).save(file)
    run, data = start(config(folder, mode="dense", epochs=0.5), tmp_path)
    assert train([run], data, None, print, lambda: False) and conclude([run], data, print)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    results = json.loads((run.out / "results.json").read_text(), parse_constant=refuse)
    assert "Sky" in results["rows"][0]["iou"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("old")

    def fail(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"cannot write the results .*results\.json .*No space left"):
        replace_file(path, "the results", fail)
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_a_full_disk_is_named_though_torch_says_something_else(tmp_path: Path) -> None:
    """Of all but tiny states what the disk raises becomes an error of torch's about the file's inside."""
    path = tmp_path / "checkpoint.pt"
    path.write_text("old")
    with files_end_at(100_000), pytest.raises(OutputError, match=r"cannot write the checkpoint .*File too large"):
        save_checkpoint(path, {"weights": torch.zeros(1_000_000)})
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_where_no_step_was_taken_there_is_nothing_to_report(camvid: Path, tmp_path: Path) -> None:
    run, data = start(config(camvid, mode="dense"), tmp_path)
    assert run.job.report() == {}
    assert not train([run], data, None, print, lambda: run.job.step == 2)
    assert run.job.report() == {}  # what is saved is reported before
    run.job.run_step(*run.samples.take(run.order.indices(2)), 0.5)
    assert run.job.report()["loss"] > 0


def test_the_device_says_how_a_resumed_optimiser_works(camvid: Path, tmp_path: Path) -> None:
    run, data = start(config(camvid, mode="dense"), tmp_path)
    assert not train([run], data, None, print, lambda: run.job.step == 1)
    state = load_checkpoint(run.checkpoint, torch.device("cpu"))
    for group in state["job"]["optimizer"]["param_groups"]:  # as on a card
        group.update(capturable=True, fused=True, lr=torch.tensor(0.1))
    save_checkpoint(run.checkpoint, state)
    again, _ = start(config(camvid, mode="dense"), tmp_path)
    again.resume()
    assert train([again], data, None, print, lambda: False) and not again.error
    group = again.job.optimizer.param_groups[0]
    assert (group["capturable"], group["fused"], type(group["lr"])) == (False, False, float)


def test_a_training_that_its_clock_ended_is_only_measured_again_unless_it_is_to_be_longer(
    camvid: Path, tmp_path: Path
) -> None:
    run, data = start(config(camvid, mode="dense", epochs=9999.0), tmp_path)
    assert train([run], data, time.monotonic() + 1, print, lambda: False) and run.reached == 1
    ended = run.job.step
    again, _ = start(config(camvid, mode="dense", epochs=9999.0), tmp_path)
    again.resume()
    assert train([again], data, None, print, lambda: False)
    assert again.job.step == ended and again.history == run.history
    longer, _ = start(config(camvid, mode="dense", epochs=ended / 2 + 1), tmp_path)  # two steps an epoch
    longer.resume()
    assert train([longer], data, None, print, lambda: False) and longer.job.step == ended + 2


def test_a_clocked_training_that_stops_twice_goes_on_exactly(camvid: Path, tmp_path: Path) -> None:
    settings = config(camvid, mode="dense", epochs=8.0)
    run, data = start(settings, tmp_path)
    assert not train([run], data, time.monotonic() + 2, print, lambda: run.job.step == 3 or run.reached > 0.9)
    run.reached = 0.7  # as far as a clock may bring it
    save_checkpoint(run.checkpoint, run.state())
    rates = []
    for stops in ((), (5, 7)):
        going, _ = start(settings, tmp_path / "a")
        save_checkpoint(going.checkpoint, load_checkpoint(run.checkpoint, torch.device("cpu")))
        for step in (*stops, None):
            going, _ = start(settings, tmp_path / "a")
            going.resume()
            train([going], data, None, print, lambda going=going, step=step: going.job.step == step)  # type: ignore[misc]
        assert going.resumed == (run.job.step, 0.7)  # another point of the same line would round otherwise
        rates.append([float(value) for value in going.job.objective.network.state_dict()["logits.conv.bias"]])
    assert rates[0] == rates[1]
