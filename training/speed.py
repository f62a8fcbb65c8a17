"""Training speed and memory: the dense network against SegBlocks, one after the other on the same card.

`python training/speed.py --json speed.json` needs no data: images are random, all else is a real training step.
`python training/speed.py --memory --target 0.4` measures what a step takes of the card's memory instead, and
`--config dense.yaml --config blocks.yaml` times these configurations, the first of which the others are held against.
"""

from __future__ import annotations

import json
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
from segstream.training.config import TrainConfig, load_config
from segstream.training.job import Job
from segstream.training.kernel_blocks import use_kernels
from segstream.training.loop import device_of

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
    job = Job(config, torch.full((11,), 1 / 11, device=device), size, device, graphs=graphs)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (config.batch, 3, *size), generator=generator, dtype=torch.uint8).to(device)
    labels = torch.randint(0, 11, (config.batch, *size), generator=generator, dtype=torch.uint8).to(device)
    return job, images, labels


def peak_memory(config: TrainConfig, device: torch.device) -> tuple[float, float]:
    """MB that a training has allocated on the card at the peak of a step, and between steps (weights, optimizer)."""
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


def cases(config_files: tuple[str, ...], memory: bool, batch: int, crop: str, target: float) -> dict[str, TrainConfig]:
    """What to measure, by name; the first is what the others are held against.

    Args:
        config_files: configurations to measure as they are; without any, this file's own cases.
        batch, crop, target: settings of this file's own cases.

    Raises:
        UsageError: if a configuration cannot be read, or is none that starts from nothing.
    """
    if config_files:
        configs = [load_config(path) for path in config_files]
        for config in configs:
            if config.teachers or config.mode == "policy":
                raise UsageError(
                    f"{config.name} has teachers or is of the mode policy, which need a network that is trained: give "
                    "configurations that start from nothing."
                )
        named = {config.name: replace(config, init=None) for config in configs}
        if len(named) < len(configs):
            raise UsageError("two configurations have one name: give each a name of its own.")
        return named
    width, _, height = crop.partition("x")
    found = {}
    for name, settings in (MEMORY_CASES if memory else CASES).items():
        config = TrainConfig(batch=batch, crop=(int(width), int(height)), target=target, **settings)
        found[name] = replace(config, levels=(target,)) if memory else config
    return found


@click.command()
@click.option("--config", "config_files", multiple=True, help="YAML file of settings to measure; may be repeated.")
@click.option("--device", default="auto", show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--crop", default="512x384", show_default=True)
@click.option("--target", default=0.19, show_default=True, help="Share of high blocks.")
@click.option("--seconds", default=3.0, show_default=True, help="How long to time each case.")
@click.option("--json", "json_file", default=None, help="Where to write the figures.")
@click.option("--kernels/--no-kernels", default=True)
@click.option("--graphs/--no-graphs", default=True)
@click.option("--memory", is_flag=True, help="Measure memory (of steps without CUDA graphs) instead of speed.")
def main(
    config_files: tuple[str, ...],
    device: str,
    batch: int,
    crop: str,
    target: float,
    seconds: float,
    json_file: str | None,
    kernels: bool,
    graphs: bool,
    memory: bool,
) -> None:
    """Measure the training speed (or memory) of SegBlocks against the dense network."""
    place = device_of(device)
    if memory and place.type != "cuda":
        raise click.UsageError("--memory measures a GPU's memory, and the CPU is in use here; give --device cuda")
    in_use = False
    if place.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        in_use = kernels and use_kernels(print)
    configs = cases(config_files, memory, batch, crop, target)
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
    if json_file is not None:
        result = {
            "peak_mb" if memory else "images_per_second": rows,
            "kernels": in_use,
            "graphs": graphs,
            "settings": {name: config.to_dict() for name, config in configs.items()},
        }
        Path(json_file).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except SegstreamError as error:
        print(f"speed.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
