"""Train networks and policies: `python training/train.py --config training/configs/camvid-mixed.yaml --data DIR`.

Several configurations and seeds are trained side by side on one device. Under `torchrun` each run's batch is spread
over the processes.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a checkout: the folder of this file would hide installed packages behind its own names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click
import torch
import yaml

from segstream.errors import SegstreamError, UsageError
from segstream.models import Model, SwiftNet, load_model
from segstream.models.checkpoints import load_encoder, read_checkpoint
from segstream.models.spec import IMAGENET_MEAN, IMAGENET_STD
from segstream.training.checkpoint import make_folder
from segstream.training.config import TrainConfig, load_config
from segstream.training.data import Order
from segstream.training.distributed import World, join, leave, spread
from segstream.training.job import Job
from segstream.training.kernel_blocks import use_kernels
from segstream.training.loop import Run, conclude, device_of, train
from segstream.training.paste import LARGEST, LEAST_AREA, RARE
from segstream.training.reinforce import count_for
from segstream.training.setup import Data, load_data
from segstream.training.tracking import Tracker


def make_run(
    config: TrainConfig, data: Data, device: torch.device, out: Path, world: World, graphs: bool = True
) -> Run:
    """A run of one configuration; its network from scratch, from ImageNet weights, or from a model file.

    Raises:
        UsageError: if the batch does not fit the processes or the teachers, a model file does not fit the data, or the
            data has nothing to paste where that is asked for.
    """
    if config.batch % world.size:
        raise UsageError(f"a batch of {config.batch} cannot be spread over {world.size} processes evenly.")
    local = config.batch // world.size
    if local < len(config.teachers):
        raise UsageError(
            f"{len(config.teachers)} teachers cannot share a batch of {local} images (on each of {world.size} "
            "processes): expected an image or more for each; raise 'batch' or name fewer 'teachers'."
        )
    whole = count_for(config.whole, local)
    if config.mode == "reinforce" and config.whole and not 0 < whole < local:
        raise UsageError(
            f"the setting whole, {config.whole}, comes to {whole} of the {local} images that each of {world.size} "
            f"processes has of a batch: expected some and not all; change 'whole' or 'batch', or set whole to 0."
        )
    if config.mode == "reinforce" and config.shuffled and not count_for(config.shuffled, local):
        raise UsageError(
            f"the setting shuffled, {config.shuffled}, comes to none of the {local} images that each of {world.size} "
            "processes has of a batch: expected one or more; raise 'shuffled' or 'batch', or set shuffled to 0."
        )
    if config.pasted and data.objects is None:
        raise UsageError(
            f"the setting pasted, {config.pasted}, finds nothing to paste: expected connected pixels, {LEAST_AREA} or "
            f"more and at most {LARGEST} wide and high, of classes with less than {100 * RARE:g} % of all; set pasted "
            "to 0."
        )
    network = policy_net = spec = None
    if config.init is not None:
        model = load_start(config, data)
        network, policy_net = model.network.train(), model.policy_net
        if config.mode != "policy":
            network.set_shallow(config.shallow)
        else:
            spec = model.spec
            known = {key: model.spec.training.get(key, getattr(config, key)) for key in ("class_weights", "prior")}
            config = replace(config, **known)
    teachers = [load_teacher(path, data) for path in config.teachers]
    size = data.samples.main.size
    job = Job(
        config,
        data.shares,
        size,
        device,
        world=world.size,
        rank=world.rank,
        network=network,
        policy_net=policy_net,
        spec=spec,
        graphs=graphs,
        teachers=teachers,
        objects=data.objects if config.pasted else None,
    )
    if config.encoder_weights is not None:
        load_encoder(job.objective.network.encoder, config.encoder_weights)
        job.averaged.load_state_dict(job.objective.state_dict())
    extra = data.extra if config.scenes else 0
    if config.scenes and not count_for(config.scenes, config.batch):
        raise UsageError(
            f"the setting scenes, {config.scenes}, comes to none of the {config.batch} images of a batch: expected one "
            "or more; raise 'scenes' or 'batch', or set scenes to 0."
        )
    order = Order(data.main, extra, config.scenes, config.batch, config.seed, world.rank, world.size)
    spread(job, world)
    total = max(1, round(config.epochs * order.steps_per_epoch))
    folder = out / config.name
    make_folder(folder)
    return Run(config, job, order, data.samples, folder, total, Tracker(folder / "tensorboard", world.rank == 0))


def leader_of(config: TrainConfig, configs: list[TrainConfig]) -> TrainConfig:
    """The training that another one is taught by, the setting `taught_by`.

    Raises:
        UsageError: if no other one of that name is dense.
    """
    name = config.taught_by
    for wanted in (name, f"{name}-{config.seed}"):  # the second as --seeds names them
        for other in configs:
            if other is not config and other.mode == "dense" and other.name == wanted:
                return other
    raise UsageError(
        f"{config.name} is to be taught by {name}, but no other dense training of this command has that name: give its "
        "configuration, too, or set taught_by to null."
    )


def load_start(config: TrainConfig, data: Data) -> Model:
    """The model that a training starts from, the setting `init`.

    Raises:
        UsageError: if it does not fit the settings or the data.
    """
    model = load_model(str(config.init))
    if model.spec.encoder != config.encoder or model.spec.classes != data.classes:
        raise UsageError(
            f"the model {config.init} has the encoder {model.spec.encoder} and {len(model.spec.classes)} classes, "
            f"but {config.name} has {config.encoder} and the {len(data.classes)} of its data: change 'init' or "
            "'encoder'."
        )
    if model.spec.interpolation != "seamless" or (model.spec.mean, model.spec.std) != (IMAGENET_MEAN, IMAGENET_STD):
        raise UsageError(
            f"the model {config.init} enlarges each block by itself or takes colours in another scale, as imported "
            "checkpoints do: start from a model trained here."
        )
    if config.mode != "policy" and (model.network.subpixel is not None) != config.subpixel:
        has, setting = ("no", "false") if config.subpixel else ("a", "true")
        raise UsageError(f"the model {config.init} has {has} last layer of low blocks: set subpixel to {setting}.")
    return model


def load_teacher(path: str, data: Data) -> SwiftNet:
    """The network of a model file, in evaluation mode, if it knows the data's classes."""
    model = load_model(path)
    if model.spec.classes != data.classes:
        raise UsageError(f"the teacher {path} knows other classes than the data set: {', '.join(model.spec.classes)}.")
    return model.network.eval()


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """`key=value` strings, the values read as YAML."""
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes KEY=VALUE, not {setting!r}.")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {setting} cannot be read: expected a value as in YAML.") from error
    return values


def keep_others(configs: list[TrainConfig], out: Path, allowed: bool) -> None:
    """Refuse names that two trainings share, and unless `allowed` those of trainings that are in the folder already."""
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two trainings are called {name}: give each a name of its own, or --seeds.")
        if not allowed and any((out / name / file).exists() for file in files_left(name)):
            raise UsageError(
                f"{out / name} holds a training already, or its model: go on with --resume, give another --out, or "
                "replace it with --overwrite."
            )


def check_files(configs: list[TrainConfig]) -> None:
    """Read the weights that configurations name, so that what is wrong with a file is said before the data is read.

    Raises:
        ModelError: if one is missing or cannot be read.
    """
    models = [path for config in configs for path in (config.init, *config.teachers)]
    for path in dict.fromkeys(models):  # each once, in the order of the configurations
        if path is not None:
            load_model(path)
    for path in dict.fromkeys(config.encoder_weights for config in configs):
        if path is not None:
            read_checkpoint(path)


def files_of(folder: Path, name: str, configs: Sequence[TrainConfig]) -> list[Path]:
    """Files that an earlier training of this name left in its folder, but for those that trainings now begin with."""
    named = [file for config in configs for file in (config.init, config.encoder_weights, *config.teachers) if file]
    needed = {Path(file).resolve() for file in named}
    files = [folder / file for file in files_left(name)] + list((folder / "tensorboard").glob("events.*"))
    return [file for file in files if file.exists() and file.resolve() not in needed]


def files_left(name: str) -> tuple[str, ...]:
    """Names of the files that a training leaves, beside TensorBoard's."""
    return ("checkpoint.pt", "results.json", f"{name}.safetensors")


def deadline_for(begun: float, time_limit: float, runs: int) -> float:
    """`time.monotonic()` by which training must end, so that the last evaluation of all runs fits into the limit.

    Raises:
        UsageError: if nothing is left for training.
    """
    deadline = begun + time_limit - 5 - 8 * runs - 0.01 * time_limit
    if deadline <= time.monotonic():
        needed = (time.monotonic() - begun + 5 + 8 * runs) / 0.99
        raise UsageError(
            f"--time-limit {time_limit:g} leaves no time to train: reading the data and measuring in the end need "
            f"{needed:.0f} s of it; give more."
        )
    return deadline


def run_training(
    configs: list[TrainConfig],
    device_name: str,
    out: Path,
    resume: bool,
    time_limit: float | None,
    kernels: bool,
    graphs: bool,
) -> bool:
    """Train all configurations; returns False if the user stopped it (the checkpoints are written)."""
    begun = time.monotonic()
    world = join(device_name)
    device = world.device or device_of(device_name)

    def say(line: str) -> None:
        if world.rank == 0:
            print(f"[{time.monotonic() - begun:6.1f} s] {line}", flush=True)

    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        if kernels:
            use_kernels(say)
    for key in ("dataset", "data_dir", "resize", "input_size"):
        if len({getattr(config, key) for config in configs}) > 1:
            raise UsageError(f"trainings side by side share their data, but differ in {key}: train them one by one.")
    leaders = {c.name: leader_of(c, configs).name for c in configs if c.taught_by is not None}
    # Who teaches steps first: its answers are then of the same step, and a fault is found where it is.
    configs = sorted(configs, key=lambda config: config.name in leaders)
    check_files(configs)
    for config in configs:
        make_folder(out / config.name)
    old = {config.name: files_of(out / config.name, config.name, configs) for config in configs}
    # Drawn scenes are cached, and objects cut out, if any run wants them.
    most = {key: max(getattr(config, key) for config in configs) for key in ("scenes", "pasted")}
    data = load_data(replace(configs[0], **most), device)
    stopped: list[int] = []
    before = signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
    runs: list[Run] = []
    try:
        say(f"{data.main} images and {data.extra} drawn scenes for training, {len(data.val.images)} for validation")
        for config in configs:
            runs.append(make_run(config, data, device, out, world, graphs))
        named = {run.config.name: run for run in runs}
        for name, leader in leaders.items():
            named[name].follow(named[leader])
        for run in runs:
            if resume:
                run.resume()
                if run.reached >= 1:
                    say(f"{run.config.name} was trained to its end, and is only measured again")
            elif world.rank == 0:
                run.replaced = old[run.config.name]
        deadline = None if time_limit is None else deadline_for(begun, time_limit, len(runs))
        finished = train(runs, data, deadline, say, lambda: bool(stopped), world)
        leave(world, [run.job for run in runs])  # to measure takes longer than other processes wait
        if finished and world.rank == 0:
            signal.signal(signal.SIGINT, before)
            say("measuring under every policy; Ctrl-C ends it, and --resume does it again")
            try:
                conclude(runs, data, say)
            except KeyboardInterrupt:
                finished = False
        if not finished:
            say(f"stopped; go on with --resume --out {out}")
    finally:
        signal.signal(signal.SIGINT, before)
        leave(world, [run.job for run in runs], wait=False)
    errors = [run.error for run in runs if run.error]
    if errors and world.rank:
        # To fail here would end the process that measures what is well.
        print(f"process {world.rank}: {errors[0]}", file=sys.stderr)
    elif errors:
        raise SegstreamError(errors[0])
    return finished


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config_files", multiple=True, required=True, help="YAML file of settings; may be repeated.")
@click.option("--data", "data_dir", default=None, help="Folder of the data set.")
@click.option("--seeds", default=None, help="Seeds to train every configuration with, as in 0,1,2.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a setting; may be repeated.")
@click.option("--out", default="runs", show_default=True, help="Folder for checkpoints, models and results.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--time-limit",
    type=float,
    default=None,
    help="Seconds after which all is trained and measured on a GPU; measuring on a processor takes minutes more.",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoints in --out.")
@click.option("--overwrite", is_flag=True, help="Replace trainings of these names in --out.")
@click.option("--kernels/--no-kernels", default=True, help="Use the CUDA kernels for block operations.")
@click.option("--graphs/--no-graphs", default=True, help="Capture training steps as CUDA graphs.")
def main(
    config_files: tuple[str, ...],
    data_dir: str | None,
    seeds: str | None,
    settings: tuple[str, ...],
    out: str,
    device: str,
    time_limit: float | None,
    resume: bool,
    overwrite: bool,
    kernels: bool,
    graphs: bool,
) -> None:
    """Train networks and policies as configuration files say."""
    overrides = parse_settings(settings)
    if data_dir is not None:
        overrides.setdefault("data_dir", data_dir)
    configs = [load_config(path, overrides) for path in config_files]
    if seeds is not None:
        if not all(seed.strip().isdecimal() for seed in seeds.split(",")):
            raise UsageError(f"--seeds takes whole numbers, as in 0,1,2, not {seeds!r}.")
        numbers = [int(seed) for seed in seeds.split(",")]
        configs = [replace(c, seed=seed, name=f"{c.name}-{seed}") for seed in numbers for c in configs]
    keep_others(configs, Path(out), resume or overwrite)
    if not run_training(configs, device, Path(out), resume, time_limit, kernels, graphs):
        raise SystemExit(130)


if __name__ == "__main__":
    try:
        main()
    except SegstreamError as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
