"""The trade-off of mIoU against GMAC: one table, JSON and plot from the results of trainings.

`python training/tradeoff.py runs/*/results.json --json tradeoff.json --plot tradeoff.png` averages over the seeds of
each kind of training. Every training measures its network under every policy when it ends
(`segstream.training.result`).
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a checkout: the folder of this file would hide installed packages behind its own names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click
from rich.console import Console
from rich.table import Table

from segstream.errors import SegstreamError, SourceError

COLOURS = {
    "dense": "black",
    "learned": "tab:red",
    "oracle": "tab:green",
    "heuristic": "tab:blue",
    "random": "tab:gray",
    "high": "tab:purple",
    "low": "tab:brown",
}


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a curve, over the seeds.

    Attributes:
        network: how the network was trained ("dense", "mixed", "reinforce").
        policy: what chose its blocks.
        share: share of high blocks.
        gmacs: mean GMAC an image.
        ratio: of the dense network's GMAC at full size.
        miou, spread: mean over the seeds, and standard deviation (0 for one seed).
        seeds: how many.
        calibrated: whether the policy's threshold came from training images, as it is used.
    """

    network: str
    policy: str
    share: float
    gmacs: float
    ratio: float
    miou: float
    spread: float
    seeds: int
    calibrated: bool = False


def read_results(paths: list[Path]) -> list[dict[str, Any]]:
    """Read results.json files of trainings."""
    found = []
    for path in paths:
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
            found.append({key: results[key] for key in ("name", "dense_gmacs", "rows", "shrunk", "config")})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path} holds no results of a training ({error}): give results.json files.") from error
    return found


def points(results: list[dict[str, Any]]) -> list[Point]:
    """Mean over seeds of all rows that mean the same."""
    groups: dict[tuple[Any, ...], list[tuple[float, float, float, float]]] = {}
    for result in results:
        mode = result["config"]["mode"]
        dense = result["dense_gmacs"]
        for row in result["rows"]:
            calibrated = bool(row.get("calibrated"))
            key = (mode, row["policy"], None if calibrated else round(row["share"], 2), calibrated)
            groups.setdefault(key, []).append((row["share"], row["gmacs"], row["gmacs"] / dense, row["miou"]))
        for row in result["shrunk"]:
            name = f"dense {row['size'][0]}x{row['size'][1]}"
            groups.setdefault((mode, name, 1.0, False), []).append(
                (1.0, row["gmacs"], row["gmacs"] / dense, row["miou"])
            )
    found = []
    for (mode, policy, _, calibrated), rows in groups.items():
        share, gmacs, ratio, miou = (statistics.fmean(column) for column in zip(*rows, strict=True))
        spread = statistics.stdev([row[3] for row in rows]) if len(rows) > 1 else 0.0
        found.append(Point(mode, policy, share, gmacs, ratio, miou, spread, len(rows), calibrated))
    return sorted(found, key=lambda p: (p.network, p.policy, p.gmacs))


def show(found: list[Point]) -> None:
    """Print the table."""
    table = Table(title="mIoU against GMAC (* threshold from training images)")
    for column in ("network", "policy", "share high", "GMAC", "of dense", "mIoU", "seeds"):
        table.add_column(column, justify="left" if column in ("network", "policy") else "right")
    for p in found:
        star = "*" if p.calibrated else ""
        miou = f"{100 * p.miou:.1f} ± {100 * p.spread:.1f}" if p.seeds > 1 else f"{100 * p.miou:.1f}"
        table.add_row(
            p.network, p.policy + star, f"{p.share:.2f}", f"{p.gmacs:.2f}", f"{p.ratio:.2f}", miou, str(p.seeds)
        )
    Console().print(table)


def plot(found: list[Point], path: Path) -> None:
    """Draw the curves: the dense network at several sizes, and the blocks' network under each policy."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    dense = sorted((p.gmacs, p.miou, p.spread) for p in found if p.policy.startswith("dense"))
    blocks = [p for p in found if p.network != "dense" and not p.calibrated]
    network = "reinforce" if any(p.network == "reinforce" for p in blocks) else "mixed"
    blocks = [p for p in blocks if p.network == network]
    curves = {"dense, several input sizes": ("dense", dense)} if dense else {}
    ends = [(p.gmacs, p.miou, p.spread) for p in blocks if p.policy in ("low", "high")]
    for policy in ("oracle", "learned", "heuristic", "random"):
        inner = [(p.gmacs, p.miou, p.spread) for p in blocks if p.policy == policy]
        if inner:
            curves[f"blocks, {policy}"] = (policy, sorted([*inner, *ends]))
    for label, (key, curve) in curves.items():
        x, y, spread = (list(column) for column in zip(*curve, strict=True))
        style = "--" if key == "dense" else "-"
        percent = [100 * value for value in y]
        axes.errorbar(
            x,
            percent,
            [100 * s for s in spread],
            label=label,
            color=COLOURS[key],
            marker="o",
            ls=style,
            ms=4,
            capsize=2,
        )
    axes.set_xlabel("GMAC an image, policy network included")
    axes.set_ylabel("mIoU on val, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=None, help="Where to write the points.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), default=None, help="Where to draw them (.png).")
def main(results: tuple[Path, ...], json_file: Path | None, plot_file: Path | None) -> None:
    """Put the RESULTS (results.json files) of trainings together as one trade-off."""
    found = points(read_results(list(results)))
    show(found)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(p) for p in found], indent=1) + "\n", encoding="utf-8")
    if plot_file is not None:
        plot(found, plot_file)


if __name__ == "__main__":
    try:
        main()
    except SegstreamError as error:
        print(f"tradeoff.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
