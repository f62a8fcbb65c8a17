"""How steady a policy is on video: blocks that change their resolution from one frame to the next.

`python training/flips.py drive.mp4 --looking-back 0 0 --looking-back 0.3 0.3` prints a row for each policy and each
pair of values of `--steady` and `--borders`.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

if __name__ == "__main__":  # a checkout: the folder of this file would hide installed packages behind its own names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from segstream.config import BORDERS, STEADY
from segstream.errors import SegstreamError
from segstream.models import DEFAULT_MODEL
from segstream.segmenter import Segmenter
from segstream.sources import SourceOptions, open_source

PAIRS = ((0.0, 0.0), (STEADY, 0.0), (STEADY, BORDERS))


def grids_of(video: str, segmenter: Segmenter, frames: int) -> NDArray[np.bool_]:
    """Grids of the first frames of a video as the program chooses them, bool [T, GH, GW]."""
    grids, last = [], None
    with open_source(video, SourceOptions(max_frames=frames)) as source:
        for frame in source:
            last = segmenter(frame, last)
            grids.append(last.blocks)
    return np.stack(grids)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("videos", nargs=-1, required=True)
@click.option("--model", "model_name", default=DEFAULT_MODEL, show_default=True)
@click.option("--policy", "policies", multiple=True, default=("learned", "heuristic"), show_default=True)
@click.option(
    "--looking-back", "pairs", nargs=2, type=click.FloatRange(0, 1), multiple=True, default=PAIRS, show_default=True
)
@click.option("--frames", default=300, show_default=True, help="How many frames of each video.")
@click.option("--device", default="auto", show_default=True)
def main(
    videos: tuple[str, ...],
    model_name: str,
    policies: tuple[str, ...],
    pairs: tuple[tuple[float, float], ...],
    frames: int,
    device: str,
) -> None:
    """Count the blocks that flip between frames of VIDEOS."""
    table = Table(title="blocks that flip between one frame and the next")
    for column in ("video", "policy", "steady", "borders", "frames", "blocks", "share high", "flips a frame"):
        table.add_column(column, justify="left" if column in ("video", "policy") else "right")
    with Segmenter(model_name, device=device) as segmenter:
        for video in videos:
            for policy, (steady, borders) in product(policies, pairs):
                segmenter.policy, segmenter.steady, segmenter.borders = policy, steady, borders
                grids = grids_of(video, segmenter, frames)
                flips = (grids[1:] != grids[:-1]).sum() / max(1, len(grids) - 1)
                figures = (str(len(grids)), str(grids[0].size), f"{grids.mean():.3f}", f"{flips:.2f}")
                table.add_row(Path(video).name, policy, f"{steady:g}", f"{borders:g}", *figures)
    Console().print(table)


if __name__ == "__main__":
    try:
        main()
    except SegstreamError as error:
        print(f"flips.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
