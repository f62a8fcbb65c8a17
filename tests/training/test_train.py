"""Whole trainings of a tiny network on a tiny data set: stopped and resumed, broken, run as a command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from segstream.datasets.camvid import CLASSES
from segstream.errors import ModelError, OutputError, UsageError
from segstream.models import Model, ModelSpec, PolicyNet, SwiftNet, load_model, read_model, save_model
from segstream.models.registry import untrained_model
from segstream.palettes import CAMVID
from segstream.training.augment import augment
from segstream.training.checkpoint import load_checkpoint, save_checkpoint
from segstream.training.config import TrainConfig
from segstream.training.distributed import World
from segstream.training.job import Job, start_policy
from segstream.training.loop import Run, conclude, train
from segstream.training.setup import Data, load_data
from segstream.training.train import main, make_run, run_training

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


def test_stopped_and_resumed_equals_uninterrupted(signs: Path, tmp_path: Path) -> None:
    settings = config(signs, pasted=2.0)
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


@pytest.mark.parametrize(("whole", "expected"), [(0.0, 2), (0.4, 5), (0.6, 5), (0.7, 6)])  # nearest: 2, 2 and 3 images
def test_whole_images_are_counted_beside_the_target(whole: float, expected: int, camvid: Path, tmp_path: Path) -> None:
    settings = config(camvid, batch=4, target=0.25, whole=whole, reward="borders", policy_loss="regression")
    run, data = start(settings, tmp_path)  # four images of two blocks
    assert run.job.high_count(0) == expected
    train([run], data, None, lambda _: None, lambda: run.job.step > 0)
    assert run.job.step == 1 and not run.error


@pytest.mark.parametrize(("whole", "found"), [(0.1, "0 of the 4"), (0.9, "4 of the 4")])
def test_some_images_must_be_whole_and_some_not(whole: float, found: str, camvid: Path, tmp_path: Path) -> None:
    settings = config(camvid, batch=4, whole=whole, reward="borders", policy_loss="regression")
    with pytest.raises(UsageError, match=rf"whole, {whole}, comes to {found} .* expected some and not all"):
        start(settings, tmp_path)
    run, _ = start(replace(settings, mode="dense", distill=0.0), tmp_path)  # which has no use for it
    assert run.job.high_count(0) == 8


def test_shuffled_images_take_no_more_high_blocks_and_are_not_too_few(camvid: Path, tmp_path: Path) -> None:
    settings = config(camvid, batch=4, target=0.25, shuffled=0.5, reward="borders", policy_loss="regression")
    run, data = start(settings, tmp_path / "some")
    assert run.job.high_count(0) == 2
    train([run], data, None, lambda _: None, lambda: run.job.step > 0)
    assert run.job.step == 1 and not run.error
    with pytest.raises(UsageError, match=r"shuffled, 0\.1, comes to none of the 4 .* expected one or more"):
        start(replace(settings, shuffled=0.1), tmp_path / "none")


def test_objects_are_pasted_where_there_are_any(
    camvid: Path, signs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"pasted, 2\.0, finds nothing to paste: expected .* set pasted to 0"):
        start(config(camvid, pasted=2.0), tmp_path / "none")
    seen = []

    def spy(images: torch.Tensor, labels: torch.Tensor, *others: Any) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append((images, labels))
        return augment(images, labels, *others)

    monkeypatch.setattr("segstream.training.job.augment", spy)
    run, data = start(config(signs, pasted=6.0), tmp_path / "some")
    images, labels = data.samples.take([0, 1])
    run.job.run_step(images, labels, 0.0)
    new = seen[0][1] != labels
    assert new.any() and set(seen[0][1][new].tolist()) == {CLASSES.index("SignSymbol")}
    changed = (seen[0][0] != images).any(1)
    assert changed[new].float().mean() > 0.9 and not changed.all()
    run, data = start(config(signs), tmp_path / "off")
    run.job.run_step(images, labels, 0.0)
    assert torch.equal(seen[1][0], images) and torch.equal(seen[1][1], labels)


def test_processes_have_whole_images_of_their_own() -> None:
    settings = config(Path(), batch=8, target=0.25, whole=0.25, reward="borders", policy_loss="regression")
    shares = torch.ones(11, dtype=torch.float64) / 11
    assert Job(settings, shares, (64, 128), CPU).high_count(0) == 2 * 2 + 3
    assert Job(settings, shares, (64, 128), CPU, world=2).high_count(0) == 1 * 2 + 2  # 1.5 of 6 blocks


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


def test_teachers_share_a_batch_and_teach_the_dense_network(camvid: Path, tmp_path: Path) -> None:
    plain, _ = start(config(camvid, mode="dense", name="teacher"), tmp_path)
    files = []
    for turn, name in enumerate(("first", "second")):
        plain.job.network.logits.conv.bias.data[turn] = 9.0
        spec = ModelSpec(name=name, encoder="efficientnet-lite1", classes=CLASSES, palette=tuple(CAMVID.values()))
        files.append(str(tmp_path / f"{name}.safetensors"))
        save_model(Model(plain.job.network, None, spec), files[-1])
    settings = config(camvid, mode="dense", teachers=tuple(files), distill=2.0, batch=3)
    run, data = start(settings, tmp_path)
    x = torch.randn(3, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers = [load_model(name).network(x) for name in files]
        for step, teachers in enumerate(([0, 1, 0], [0, 0, 1], [1, 0, 0])):
            run.job.now.fill_(step)
            expected = torch.stack([answers[teacher][i] for i, teacher in enumerate(teachers)])
            torch.testing.assert_close(run.job.ask_teachers(x), expected, atol=1e-5, rtol=1e-5)
    before = [value.clone() for value in run.job.teachers[0].state_dict().values()]
    assert train([run], data, None, print, lambda: False) and not run.error
    assert all(map(torch.equal, before, run.job.teachers[0].state_dict().values()))
    images, labels = run.samples.take([0, 1, 2])
    run.job.run_step(images, labels, 0.5)
    assert run.job.report()["distill"] > 0


def test_more_teachers_than_images_are_refused(camvid: Path, tmp_path: Path) -> None:
    settings = config(camvid, teachers=("a", "b", "c"), batch=4)
    data = load_data(settings, CPU)
    with pytest.raises(UsageError, match=r"3 teachers cannot share a batch of 2 images .on each of 2 processes"):
        make_run(settings, data, CPU, tmp_path, World(rank=0, size=2))


def test_teachers_of_other_classes_are_refused(camvid: Path, tmp_path: Path) -> None:
    model = untrained_model()
    model.spec = replace(model.spec, classes=("road", "sky"), palette=((0, 0, 0), (1, 1, 1)))
    model.network = SwiftNet("resnet18", 2)
    save_model(model, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match=r"other\.safetensors.*road, sky"):
        start(config(camvid, teachers=(str(tmp_path / "other.safetensors"),)), tmp_path)
    with pytest.raises(UsageError, match="teachers"):
        config(camvid, mode="dense", teachers=("a.safetensors",), distill=0.0)


def test_a_start_with_and_without_a_subpixel_layer(camvid: Path, tmp_path: Path) -> None:
    save_model(untrained_model(subpixel=True), tmp_path / "start.safetensors", torch.float32)
    settings = config(camvid, encoder="resnet18", subpixel=True, init=str(tmp_path / "start.safetensors"))
    run, _ = start(settings, tmp_path)
    expected = untrained_model(subpixel=True).network.subpixel
    found = run.job.objective.network.subpixel
    policies = (run.job.objective.policy_net, untrained_model(subpixel=True).policy_net)
    first, kept = (policy.layers[0].weight for policy in policies if policy is not None)
    assert torch.equal(first, kept)
    assert expected is not None and found is not None and torch.equal(found.weight, expected.weight)
    shallow = start(replace(settings, shallow=(4,)), tmp_path)[0].job
    for network in (shallow.objective.network, shallow.averaged.network):
        assert network.shallow == (4,) and network.subpixel is not None
        assert torch.equal(network.subpixel.weight, expected.weight)
    with pytest.raises(UsageError, match=r"start\.safetensors has a last layer of low blocks: set subpixel to true"):
        start(replace(settings, subpixel=False), tmp_path)
    with pytest.raises(UsageError, match=r"start\.safetensors has the encoder resnet18 .* efficientnet-lite1"):
        start(replace(settings, encoder="efficientnet-lite1"), tmp_path)


def test_the_policy_alone_is_trained_for_a_network_that_stays_as_it_is(camvid: Path, tmp_path: Path) -> None:
    before = untrained_model(subpixel=True)
    before.spec = replace(before.spec, data="a town", licence="theirs", training={"class_weights": 0.3, "prior": 0.1})
    save_model(before, tmp_path / "start.safetensors", torch.float32)
    more = {"mode": "policy", "encoder": "resnet18", "init": str(tmp_path / "start.safetensors"), "context": 2}
    settings = config(camvid, **more, reward="borders", policy_loss="regression", distill=0.0)
    run, data = start(settings, tmp_path)
    first = run.job.policy_net.layers[0].weight.clone()  # type: ignore[union-attr]
    assert before.policy_net is not None and torch.equal(first, before.policy_net.layers[0].weight)
    assert train([run], data, None, print, lambda: False) and not run.error
    conclude([run], data, print)
    model = read_model(tmp_path / "tiny/tiny.safetensors")
    assert model.policy_net is not None and model.spec.policy == "learned" and model.spec.name == "tiny"
    assert model.spec.size == (120, 60)  # at which the policy was calibrated, not what the network came with
    facts = ("data", "licence", "training")
    assert [getattr(model.spec, key) for key in facts] == [getattr(before.spec, key) for key in facts]
    assert run.config.class_weights == 0.3 and run.job.objective.prior.std() > 0
    assert not torch.allclose(model.policy_net.layers[0].weight, first, atol=1e-4)
    for name, value in before.network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value.half().float()) or not value.dim(), name


def test_a_policy_goes_on_with_what_fits_and_draws_the_rest_by_its_seed() -> None:
    before = PolicyNet(16, 0)
    settings = config(Path(), context=2)
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        policy = start_policy(settings, before)
        assert policy is not None
        made.append(policy.state_dict())
    assert all(torch.equal(m["layers.6.weight"], before.state_dict()["layers.6.weight"]) for m in made)
    assert torch.equal(made[0]["layers.18.weight"], made[1]["layers.18.weight"])
    assert not torch.equal(made[0]["layers.18.weight"], made[2]["layers.18.weight"])
    back = start_policy(replace(settings, context=0), before)
    assert back is not None
    for name, value in back.state_dict().items():
        assert torch.equal(value, before.state_dict()[name]), name
    assert start_policy(config(Path(), mode="mixed"), None) is None
    for found, wanted in (
        (before, 0.5),
        (PolicyNet(16, detail=2.0), 0.5),
        (PolicyNet(16, detail=2.0), 0.0),
        (None, 0.5),
    ):
        weighing = start_policy(config(Path(), detail=wanted), found)
        assert weighing is not None and weighing.detail_weight == (
            wanted or None
        )  # the setting's, not the former one's


def test_equal_seeds_start_equal_policies(camvid: Path, tmp_path: Path) -> None:
    more = {"mode": "policy", "encoder": "resnet18", "init": "untrained-rn18", "context": 1}
    settings = config(camvid, **more, reward="borders", policy_loss="regression", distill=0.0)
    heads = []
    for other in (5, 6):
        torch.manual_seed(other)  # the state of torch's own generator must not matter
        run, _ = start(settings, tmp_path)
        heads.append(run.job.policy_net.layers[-1].weight)  # type: ignore[union-attr]
    assert torch.equal(*heads)


def test_an_imported_network_is_no_start(camvid: Path, tmp_path: Path) -> None:
    model = untrained_model()
    model.spec = replace(model.spec, interpolation="local")
    save_model(model, tmp_path / "theirs.safetensors")
    with pytest.raises(UsageError, match=r"theirs\.safetensors enlarges each block by itself"):
        start(config(camvid, encoder="resnet18", init=str(tmp_path / "theirs.safetensors")), tmp_path)


@pytest.mark.parametrize("setting", [{"init": "no-such"}, {"teachers": ("no-such",)}, {"encoder_weights": "no-such"}])
def test_missing_weights_are_refused_before_the_data_is_read(tmp_path: Path, setting: dict[str, Any]) -> None:
    settings = TrainConfig(data_dir=str(tmp_path / "no-data"), **setting)
    with pytest.raises(ModelError, match=r"there is no (model|checkpoint) '?no-such"):
        run_training([settings], "cpu", tmp_path, False, None, False, False)


def test_a_refused_training_gives_ctrl_c_back(camvid: Path, tmp_path: Path) -> None:
    """The first training is made and the second refused."""
    before = signal.getsignal(signal.SIGINT)
    settings = [config(camvid), config(camvid, name="taught", teachers=("untrained-rn18",) * 3)]
    with pytest.raises(UsageError, match="3 teachers"):
        run_training(settings, "cpu", tmp_path, False, None, False, False)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_ends_the_last_measuring(
    camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(*_: object) -> None:  # a user who presses it then
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr("segstream.training.train.conclude", measure)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start us with it ignored
    try:
        assert not run_training([config(camvid)], "cpu", tmp_path, False, None, False, False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert f"stopped; go on with --resume --out {tmp_path}" in capsys.readouterr().out
    assert (tmp_path / "tiny/checkpoint.pt").exists()


def test_trainings_side_by_side_keep_their_own_class_weights(camvid: Path, tmp_path: Path) -> None:
    data = load_data(config(camvid), CPU)
    even, rare = (
        make_run(config(camvid, class_weights=power), data, CPU, tmp_path, World()).job.objective.weights
        for power in (0.0, 0.5)
    )
    assert torch.equal(even, torch.ones_like(even)) and rare.std() > 0
    for key in ("resize", "input_size"):
        other = config(camvid, **{key: (60, 32)})
        with pytest.raises(UsageError, match=f"differ in {key}"):
            run_training([config(camvid), other], "cpu", tmp_path, False, None, False, False)


def test_a_training_that_is_there_is_kept(camvid: Path, tmp_path: Path) -> None:
    settings = tmp_path / "tiny.yaml"
    settings.write_text("name: tiny\nmode: dense\nencoder: efficientnet-lite1\ncrop: [128, 64]\nbatch: 2\nepochs: 1\n")
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/results.json").write_text("precious")
    options = ["--config", str(settings), "--data", str(camvid), "--device", "cpu", "--out", str(tmp_path)]
    for more, message in (
        ([], "holds a training already"),
        (["--config", str(settings)], "two trainings are called tiny"),
        (["--seeds", "0,b"], "--seeds takes whole numbers"),
        (["--set", "levels=[1"], "cannot be read"),
    ):
        with pytest.raises(UsageError, match=message):
            main([*options, *more], standalone_mode=False)
    assert (tmp_path / "tiny/results.json").read_text() == "precious"
    main([*options, "--overwrite"], standalone_mode=False)
    assert json.loads((tmp_path / "tiny/results.json").read_text())["epochs"] == 1
    # What a replaced training left is gone before the first step, so that nobody takes it for the new one's.
    with pytest.raises(UsageError, match="leaves no time to train"):
        main([*options, "--overwrite", "--time-limit", "13"], standalone_mode=False)
    assert (tmp_path / "tiny/results.json").exists() and (tmp_path / "tiny/checkpoint.pt").exists()
    endless = ["--set", "epochs=99999", "--time-limit", "60"]
    left = threading.Timer(3, lambda: os.kill(os.getpid(), signal.SIGINT))
    left.start()
    with pytest.raises(SystemExit) as stopped:
        main([*options, "--overwrite", *endless], standalone_mode=False)
    assert stopped.value.code == 130
    assert [file.name for file in (tmp_path / "tiny").iterdir() if file.is_file()] == ["checkpoint.pt"]


def test_a_folder_that_cannot_be_is_said_before_the_data_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = TrainConfig(data_dir=str(tmp_path / "no-data"))
    with pytest.raises(OutputError, match=r"cannot make the folder .*file.* choose another --out"):
        run_training([settings], "cpu", tmp_path / "file", False, None, False, False)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_said(device: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"device '{device}'"):
        run_training([TrainConfig()], device, tmp_path, False, None, False, False)


def test_drawn_scenes_must_come_to_one_a_batch(camvid: Path, tmp_path: Path) -> None:
    data = load_data(config(camvid), CPU)
    with pytest.raises(UsageError, match=r"scenes, 0\.2, comes to none of the 2 images"):
        make_run(config(camvid, scenes=0.2), data, CPU, tmp_path, World())


def test_processes_augment_and_sample_by_numbers_of_their_own() -> None:
    settings = config(Path(), batch=4)
    shares = torch.ones(11, dtype=torch.float64) / 11
    jobs = [Job(settings, shares, (64, 128), CPU, world=2, rank=rank) for rank in (0, 1)]
    alone = Job(settings, shares, (64, 128), CPU)
    images, labels = torch.zeros(2, 3, 64, 128, dtype=torch.uint8), torch.zeros(2, 64, 128, dtype=torch.uint8)
    drawn = []
    for job in (*jobs, alone):
        count = len(job.images)
        job._prepare(images.repeat(2, 1, 1, 1)[:count], labels.repeat(2, 1, 1)[:count], 0.5)
        drawn.append(torch.rand(3, generator=job.generator).tolist())
    assert drawn[0] != drawn[1] and drawn[0] == drawn[2]


def test_a_model_is_kept_where_it_lies(camvid: Path, tmp_path: Path) -> None:
    """One that was copied to where the next training of its name would write, and one that the training starts from."""
    settings = tmp_path / "tiny.yaml"
    settings.write_text("name: tiny\nmode: dense\ncrop: [128, 64]\nbatch: 2\nepochs: 9999\n")
    (tmp_path / "tiny").mkdir()
    file = tmp_path / "tiny" / "tiny.safetensors"
    model = untrained_model()
    save_model(model, file)
    before = file.read_bytes()
    options = ["--config", str(settings), "--data", str(camvid), "--device", "cpu", "--out", str(tmp_path)]
    with pytest.raises(UsageError, match="or its model"):
        main(options, standalone_mode=False)
    threading.Timer(6, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(SystemExit):
        main([*options, "--overwrite", "--set", f"init={file}"], standalone_mode=False)
    assert (tmp_path / "tiny" / "checkpoint.pt").exists() and file.read_bytes() == before


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
