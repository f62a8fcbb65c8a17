"""Training speed and memory: the dense network against SegBlocks, one after the other on the same card.

`python training/speed.py --json speed.json` needs no data: images are random, all else is a real training step.
`python training/speed.py --memory --target 0.4` measures what a step takes of the card's memory instead, and
`--config dense.yaml --config blocks.yaml` those configurations, the first of which the others are held against; their
networks, teachers and 11 classes are as random as the images.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a checkout: the folder of this file would hide installed packages behind its own names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click
import torch
from torch import Tensor

from segstream.errors import SegstreamError, UsageError
from segstream.models import SwiftNet
from segstream.reports import check_report, write_report
from segstream.training.config import TrainConfig, from_dict, load_config
from segstream.training.job import Job
from segstream.training.kernel_blocks import use_kernels
from segstream.training.loop import device_of
from segstream.training.paste import SIDE, Objects

CLASSES = 11
CAMVID_OBJECTS = 6449  # that `cut_objects` finds in CamVid's training images
CASES: dict[str, dict[str, Any]] = {
    "dense": {"mode": "dense"},
    "reinforce": {"mode": "reinforce", "distill": 0.0, "reward": "loss"},
    "reinforce, gain and distillation": {"mode": "reinforce"},
    "mixed": {"mode": "mixed"},
}


# With neither teacher nor policy: what packing the blocks saves.
MEMORY_CASES: dict[str, dict[str, Any]] = {
    "dense": {"mode": "dense"},
    "packed": {"mode": "mixed", "distill": 0.0},
    "packed, with policy": {"mode": "reinforce", "distill": 0.0, "reward": "loss"},
    "packed, with teacher": {"mode": "mixed"},
}


def make_job(config: TrainConfig, device: torch.device, graphs: bool) -> tuple[Job, Tensor, Tensor]:
    """A job on random images uint8 [N, 3, H, W] and labels uint8 [N, H, W], which come with it."""
    width, height = config.crop
    size = (height * 15 // 16, width * 15 // 16)
    count = len(config.teachers) + (config.taught_by is not None)
    teachers = [SwiftNet(config.encoder, CLASSES).eval() for _ in range(count)]
    shares = torch.full((CLASSES,), 1 / CLASSES, device=device)
    objects = random_objects(device) if config.pasted else None
    job = Job(config, shares, size, device, graphs=graphs, teachers=teachers, objects=objects)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (config.batch, 3, *size), generator=generator, dtype=torch.uint8).to(device)
    labels = torch.randint(0, CLASSES, (config.batch, *size), generator=generator, dtype=torch.uint8).to(device)
    return job, images, labels


def random_objects(device: torch.device) -> Objects:
    """Objects to paste, as random as the images."""
    count = CAMVID_OBJECTS
    generator = torch.Generator().manual_seed(0)
    return Objects(
        pictures=torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator).to(device),
        masks=torch.ones(count, SIDE, SIDE, dtype=torch.uint8, device=device),
        classes=torch.zeros(count, dtype=torch.uint8, device=device),
        rows=torch.full((count,), 0.5, device=device),
        chances=torch.linspace(0, 1, count, device=device),
    )


def peak_memory(config: TrainConfig, device: torch.device) -> tuple[float, float]:
    """MB that a training has allocated on the card at the peak of a step, and between steps.

    The second is for weights, optimizer, and objects to paste.
    """
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    job, images, labels = make_job(config, device, graphs=False)
    for _ in range(3):  # libraries choose their algorithms
        job.run_step(images, labels, 0.1)
    job.report()
    standing = torch.cuda.memory_allocated(device) - before
    torch.cuda.reset_peak_memory_stats(device)
    job.run_step(images, labels, 0.1)
    job.report()
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6, standing / 1e6


def measure(config: TrainConfig, device: torch.device, seconds: float, graphs: bool) -> float:
    """Images a second that one training alone gets through."""
    job, images, labels = make_job(config, device, graphs)
    settle = 5 * (len(config.levels) if config.mode == "mixed" else 1)  # until every step is captured
    for _ in range(settle):
        job.run_step(images, labels, 0.1)
    job.report()
    begun, steps = time.monotonic(), 0
    while time.monotonic() - begun < seconds or steps < 2:
        job.run_step(images, labels, 0.1)
        steps += 1
    job.report()
    return steps * config.batch / (time.monotonic() - begun)


def cases(config_files: tuple[str, ...], memory: bool, given: dict[str, Any]) -> dict[str, TrainConfig]:
    """What to measure, by name; the first is what the others are held against.

    Args:
        config_files: configurations to measure; without any, this file's own cases.
        memory: the mode "mixed", whose share of high blocks changes from step to step, is to keep to `target`.
        given: settings that win over those of the cases.

    Raises:
        UsageError: if a setting is wrong, or two configurations have one name.
    """
    own = MEMORY_CASES if memory else CASES
    configs = [load_config(path, given) for path in config_files] or [
        from_dict({"name": name, **settings, **given}, name) for name, settings in own.items()
    ]
    found = {config.name: replace(config, levels=(config.target,)) if memory else config for config in configs}
    if len(found) < len(configs):
        raise UsageError("two configurations have one name: give each a name of its own.")
    return found


@click.command()
@click.option("--config", "config_files", multiple=True, help="YAML file of settings to measure; may be repeated.")
@click.option("--device", default="auto", show_default=True)
@click.option("--batch", type=int, default=None, help="Images a step, in place of the setting.")
@click.option("--crop", default=None, help="Width and height as in 512x384, in place of the setting.")
@click.option("--target", type=float, default=None, help="Share of high blocks, in place of the setting.")
@click.option("--seconds", default=3.0, show_default=True, help="How long to time each case.")
@click.option("--json", "json_file", default=None, help="Where to write the figures.")
@click.option("--kernels/--no-kernels", default=True)
@click.option("--graphs/--no-graphs", default=True)
@click.option("--memory", is_flag=True, help="Measure memory (of steps without CUDA graphs) instead of speed.")
def main(
    config_files: tuple[str, ...],
    device: str,
    batch: int | None,
    crop: str | None,
    target: float | None,
    seconds: float,
    json_file: str | None,
    kernels: bool,
    graphs: bool,
    memory: bool,
) -> None:
    """Measure the training speed (or memory) of SegBlocks against the dense network."""
    check_report(json_file, overwrite=True)
    place = device_of(device)
    if memory and place.type != "cuda":
        raise click.UsageError("--memory measures a GPU's memory, and the CPU is in use here; give --device cuda")
    in_use = False
    if place.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        in_use = kernels and use_kernels(print)
    # What is no number stays as it is, and is refused as such a setting is.
    sides = None if crop is None else [int(side) if side.isdecimal() else side for side in crop.split("x")]
    given = {"batch": batch, "crop": sides, "target": target}
    configs = cases(config_files, memory, {key: value for key, value in given.items() if value is not None})
    rows: dict[str, float] = {}
    for name, config in configs.items():
        if memory:
            rows[name], standing = peak_memory(config, place)
            figure = f"{rows[name]:.0f} MB ({standing:.0f} MB between steps)"
        else:
            begun = time.monotonic()
            rows[name] = measure(config, place, seconds, graphs)
            figure = f"{rows[name]:.0f} images/s (measured for {time.monotonic() - begun:.0f} s)"
        first = next(iter(rows))
        print(f"{name}: {figure}, {rows[name] / rows[first]:.2f} of {first}", flush=True)
    result = {
        "peak_mb" if memory else "images_per_second": rows,
        "kernels": in_use,
        "graphs": graphs,
        "settings": {name: config.to_dict() for name, config in configs.items()},
    }
    write_report(json_file, result)


if __name__ == "__main__":
    try:
        main()
    except SegstreamError as error:
        print(f"speed.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
