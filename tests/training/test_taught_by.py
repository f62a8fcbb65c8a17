"""A training that learns from a dense one beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segstream.datasets import IGNORE
from segstream.errors import UsageError
from segstream.training.checkpoint import load_checkpoint
from segstream.training.config import TrainConfig
from segstream.training.distributed import World
from segstream.training.loop import Run, train
from segstream.training.losses import distillation_loss
from segstream.training.setup import Data, load_data
from segstream.training.train import leader_of, main, make_run, run_training
from tests.training.test_train import CPU, config


def pair(folder: Path, out: Path, **more: object) -> tuple[Run, Run, Data]:
    """A dense run, and one of blocks that follows it for longer."""
    settings = config(folder, mode="dense", name="lead", epochs=1.5, evaluations=1)  # three steps
    data = load_data(settings, CPU)
    leader = make_run(settings, data, CPU, out, World())
    more = {"mode": "mixed", "name": "taught", "levels": (0.5, 1.0), "taught_by": "lead", "evaluations": 1, **more}
    taught = config(folder, **more)  # four steps
    run = make_run(taught, data, CPU, out, World())
    run.follow(leader)
    return leader, run, data


def step(run: Run) -> None:
    run.job.run_step(*run.samples.take(run.order.indices(run.job.step)), 0.1)


def test_the_teacher_is_the_dense_averaged_network_of_this_very_step(camvid: Path, tmp_path: Path) -> None:
    leader, run, _ = pair(camvid, tmp_path, distill=2.0)
    batches: list[tuple[torch.Tensor, ...]] = []  # x [2, 3, 64, 128], labels [2, 64, 128] and what else it takes
    logits: list[torch.Tensor] = []  # [2, 11, 16, 32]
    run.job.objective.register_forward_pre_hook(lambda _, args: batches.append(args))
    run.job.objective.network.register_forward_hook(lambda _, __, out: logits.append(out.detach()))
    for _ in range(3):
        step(leader)
        step(run)
        x, labels = batches[-1][:2]
        with torch.no_grad():
            expected = distillation_loss(logits[-1], leader.job.network(x), labels[:, 2::4, 2::4] != IGNORE)
        assert run.job.report()["distill"] == pytest.approx(2.0 * float(expected), rel=1e-5)


def test_stopped_and_resumed_equals_uninterrupted(camvid: Path, tmp_path: Path) -> None:
    leader, whole, data = pair(camvid, tmp_path / "whole")
    assert train([leader, whole], data, None, print, lambda: False)

    leader, first, data = pair(camvid, tmp_path / "parts")
    assert not train([leader, first], data, None, print, lambda: first.job.step == 2)
    leader, run, data = pair(camvid, tmp_path / "parts")
    leader.resume()
    run.resume()
    assert train([leader, run], data, None, print, lambda: False)
    assert run.job.step == 4 and run.history == whole.history
    for a, b in ((whole.job.objective, run.job.objective), (whole.job.averaged, run.job.averaged)):
        for (name, value), other in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            assert torch.equal(value, other), name


def test_the_command_lets_a_seed_learn_from_its_own(camvid: Path, tmp_path: Path) -> None:
    tiny = "encoder: efficientnet-lite1\ncrop: [128, 64]\nbatch: 2\nepochs: 1\nevaluations: 1\nwarmup: 2\n"
    for name, more in (("lead", "mode: dense\n"), ("taught", "mode: dense\ntaught_by: lead\ndistill: 2.0\n")):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n{tiny}{more}")
    files = [f"--config={tmp_path / name}.yaml" for name in ("taught", "lead")]  # the leader steps first all the same
    options = ["--data", str(camvid), "--device", "cpu", "--out", str(tmp_path / "out"), "--seeds", "1"]
    main([*files, *options], standalone_mode=False)
    found = load_checkpoint(tmp_path / "out/taught-1/checkpoint.pt", CPU)["job"]["averaged"]
    runs = []
    for name in ("lead-1", "taught-1"):
        settings = replace(TrainConfig(), **load_checkpoint(tmp_path / f"out/{name}/checkpoint.pt", CPU)["config"])
        data = load_data(settings, CPU)
        runs.append(make_run(settings, data, CPU, tmp_path / "again", World()))
    runs[1].follow(runs[0])
    assert train(runs, data, None, print, lambda: False)
    for name, value in runs[1].job.averaged.state_dict().items():
        assert torch.equal(value, found[name]), name


def test_a_teacher_is_a_dense_training_of_the_command(tmp_path: Path) -> None:
    """Which is said before the data is read."""
    dense = TrainConfig(name="dense", mode="dense", data_dir=str(tmp_path / "no-data"))
    taught = replace(dense, name="taught", mode="mixed", taught_by="dense")
    for configs in (
        [taught],
        [replace(dense, mode="mixed"), taught],
        [replace(dense, name="dense-1"), taught],  # another seed's
        [replace(dense, taught_by="dense")],
    ):
        with pytest.raises(
            UsageError,
            match=r"is to be taught by dense, but no other dense training .* give its configuration, too, or",
        ):
            run_training(configs, "cpu", tmp_path, False, None, False, False)
    seeded = replace(dense, name="dense-0")
    assert leader_of(taught, [seeded, dense, taught]) is dense
    assert leader_of(taught, [taught, seeded]) is seeded


@pytest.mark.parametrize("broken", [True, False])
def test_who_is_taught_ends_with_the_teacher_and_says_so(broken: bool, camvid: Path, tmp_path: Path) -> None:
    leader, run, data = pair(camvid, tmp_path, evaluations=4 if broken else 1)  # by which it is the first to notice
    if broken:  # its answers are no numbers, and so are the losses of both
        with torch.no_grad():
            leader.job.averaged.network.logits.conv.bias.fill_(float("nan"))
            leader.job.objective.network.logits.conv.bias.fill_(float("nan"))
    else:  # its step fails
        leader.job.images = leader.job.images[:1]
    assert train([leader, run], data, None, print, lambda: False)
    assert "lead stopped: the loss is not" in leader.error if broken else "lead failed at step 0" in leader.error
    assert run.error == "the training taught stopped with lead, which taught it."
    assert run.job.step < run.total_steps and not run.checkpoint.exists()
