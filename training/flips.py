"""How steady a policy is on video: blocks that change their resolution from one frame to the next.

`python training/flips.py drive.mp4 --steady 0 --steady 0.3` prints a row for each policy and value of `--steady`.
Only the policy runs, not the network.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # a checkout: the folder of this file would hide installed packages behind its own names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from segstream.config import STEADY
from segstream.errors import SegstreamError
from segstream.geometry import fit, to_input
from segstream.models import DEFAULT_MODEL, Model, load_model
from segstream.policies import THRESHOLDS, bonus_of, score, select
from segstream.sources import SourceOptions, open_source


def scores_of(video: str, model: Model, policy: str, frames: int) -> NDArray[np.float32]:
    """Scores of the first frames of a video, float32 [T, GH, GW]."""
    found = []
    with open_source(video, SourceOptions(max_frames=frames)) as source, torch.inference_mode():
        for frame in source:
            geometry = fit(frame.image.shape[:2], model.spec.size, model.spec.block)
            x = to_input(frame.image, geometry, model.spec.mean, model.spec.std)
            found.append(score(policy, x, model.spec.block, model.policy_net)[0].numpy())
    return np.stack(found)


def grids_of(scores: NDArray[np.float32], policy: str, threshold: float, steady: float) -> NDArray[np.bool_]:
    """Grids of a video as the program chooses them, bool [T, GH, GW]."""
    grids: list[NDArray[np.bool_]] = []
    for now in scores:
        bonus = bonus_of(grids[-1], policy, threshold, steady) if grids else None
        given = torch.from_numpy(now if bonus is None else now + bonus)[None]
        grids.append(select(given, threshold)[0].numpy())
    return np.stack(grids)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("videos", nargs=-1, required=True)
@click.option("--model", "model_name", default=DEFAULT_MODEL, show_default=True)
@click.option("--policy", "policies", multiple=True, default=("learned", "heuristic"), show_default=True)
@click.option(
    "--steady", "values", type=click.FloatRange(0, 1), multiple=True, default=(0.0, STEADY), show_default=True
)
@click.option("--frames", default=300, show_default=True, help="How many frames of each video.")
def main(
    videos: tuple[str, ...], model_name: str, policies: tuple[str, ...], values: tuple[float, ...], frames: int
) -> None:
    """Count the blocks that flip between frames of VIDEOS."""
    model = load_model(model_name)
    table = Table(title="blocks that flip between one frame and the next")
    for column in ("video", "policy", "steady", "frames", "blocks", "share high", "flips a frame"):
        table.add_column(column, justify="left" if column in ("video", "policy") else "right")
    for video in videos:
        for policy in policies:
            scores = scores_of(video, model, policy, frames)
            threshold = model.spec.thresholds.get(policy, THRESHOLDS[policy])
            for steady in values:
                grids = grids_of(scores, policy, threshold, steady)
                flips = (grids[1:] != grids[:-1]).sum() / max(1, len(grids) - 1)
                figures = (f"{steady:g}", str(len(grids)), str(grids[0].size), f"{grids.mean():.3f}", f"{flips:.2f}")
                table.add_row(Path(video).name, policy, *figures)
    Console().print(table)


if __name__ == "__main__":
    try:
        main()
    except SegstreamError as error:
        print(f"flips.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
