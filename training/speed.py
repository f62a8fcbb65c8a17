"""Training speed: images a second of the dense network and of SegBlocks, one after the other on the same card.

`python training/speed.py --json speed.json` needs no data: images are random, all else is a real training step.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a checkout: the folder of this file would hide installed packages behind its own names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click
import torch

from segstream.training.config import TrainConfig
from segstream.training.job import Job
from segstream.training.kernel_blocks import use_kernels
from segstream.training.loop import device_of

CASES: dict[str, dict[str, Any]] = {
    "dense": {"mode": "dense"},
    "reinforce": {"mode": "reinforce", "distill": 0.0, "reward": "loss"},
    "reinforce, gain and distillation": {"mode": "reinforce"},
    "mixed": {"mode": "mixed"},
}


def measure(config: TrainConfig, device: torch.device, seconds: float, graphs: bool) -> float:
    """Images a second that one training alone gets through."""
    width, height = config.crop
    size = (height * 15 // 16, width * 15 // 16)
    job = Job(config, 11, torch.ones(11, device=device), size, device, graphs=graphs)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (config.batch, 3, *size), generator=generator, dtype=torch.uint8).to(device)
    labels = torch.randint(0, 11, (config.batch, *size), generator=generator, dtype=torch.uint8).to(device)
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


@click.command()
@click.option("--device", default="auto", show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--crop", default="512x384", show_default=True)
@click.option("--target", default=0.19, show_default=True, help="Share of high blocks.")
@click.option("--seconds", default=3.0, show_default=True, help="How long to time each case.")
@click.option("--json", "json_file", default=None, help="Where to write the figures.")
@click.option("--kernels/--no-kernels", default=True)
@click.option("--graphs/--no-graphs", default=True)
def main(
    device: str,
    batch: int,
    crop: str,
    target: float,
    seconds: float,
    json_file: str | None,
    kernels: bool,
    graphs: bool,
) -> None:
    """Measure the training speed of SegBlocks against the dense network."""
    place = device_of(device)
    in_use = False
    if place.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        in_use = kernels and use_kernels(print)
    width, _, height = crop.partition("x")
    rows: dict[str, float] = {}
    for name, settings in CASES.items():
        config = TrainConfig(batch=batch, crop=(int(width), int(height)), target=target, **settings)
        begun = time.monotonic()
        rows[name] = measure(config, place, seconds, graphs)
        ratio = rows[name] / rows["dense"]
        print(f"{name}: {rows[name]:.0f} images/s, {ratio:.2f} of dense ({time.monotonic() - begun:.0f} s)", flush=True)
    if json_file is not None:
        result = {"images_per_second": rows, "kernels": in_use, "graphs": graphs, "batch": batch, "crop": crop}
        Path(json_file).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
