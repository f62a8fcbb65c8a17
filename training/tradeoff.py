"""The trade-off of mIoU against GMAC: one table, JSON and plot from the results of trainings.

`python training/tradeoff.py runs/*/results.json --json tradeoff.json --plot tradeoff.png` averages over the seeds of
each recipe: trainings whose settings differ in more than seed, name, folder and the files that they start or learn from
are never put together. Every training measures its network under every policy when it ends
(`segstream.training.result`).
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a checkout: the folder of this file would hide installed packages behind its own names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click
from rich.console import Console
from rich.table import Table

from segstream.errors import OutputError, SegstreamError, SourceError, UsageError
from segstream.reports import check_report, write_report
from segstream.training.config import TrainConfig

COLOURS = {
    "dense": "black",
    "learned": "tab:red",
    "oracle": "tab:green",
    "heuristic": "tab:blue",
    "random": "tab:gray",
    "high": "tab:purple",
    "low": "tab:brown",
}


APART = ("seed", "name", "data_dir")  # settings in which trainings of one recipe may differ
# They may be other files, or other trainings, for each seed, but not there for some only.
FILES = ("init", "teachers", "encoder_weights", "taught_by")
BLOCKS = ("reinforce", "mixed", "policy")  # modes of networks with blocks, the first that there is is drawn


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a curve, over the seeds.

    Attributes:
        network: how the network was trained ("dense", "mixed", "reinforce", "policy"), with the trainings' name where
            several recipes share that.
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


def recipes(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Results by how their networks were trained: all settings but those in APART and FILES, and the data's size.

    Returns:
        The results of each recipe by its mode, followed by a training's name where several recipes have one mode.

    Raises:
        UsageError: if one training is given twice, or two recipes of a mode have one name.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        # What a training is too old to know it went without.
        settings = {**TrainConfig().to_dict(), **result["config"]}
        settings = {key: bool(value) if key in FILES else value for key, value in settings.items() if key not in APART}
        groups.setdefault(json.dumps([settings, result["dense_gmacs"]], sort_keys=True), []).append(result)
    for group in groups.values():
        seeds = [result["config"].get("seed") for result in group]
        twice = [result["name"] for result in group if seeds.count(result["config"].get("seed")) > 1]
        if twice:
            raise UsageError(f"{' and '.join(twice)} are one recipe and one seed: give each training once.")
    modes = [group[0]["config"]["mode"] for group in groups.values()]
    named: dict[str, list[dict[str, Any]]] = {}
    for mode, group in zip(modes, groups.values(), strict=True):
        seed = group[0]["config"].get("seed")
        name = mode if modes.count(mode) == 1 else f"{mode} {group[0]['name'].removesuffix(f'-{seed}')}"
        if name in named:
            raise UsageError(
                f"two recipes of the mode {mode} have one name: give them apart, or train with other names."
            )
        named[name] = group
    return named


def points(results: list[dict[str, Any]]) -> list[Point]:
    """Mean over the seeds of each recipe of all rows that mean the same."""
    found = []
    for network, group in recipes(results).items():
        same: dict[tuple[Any, ...], list[tuple[float, float, float, float]]] = {}
        for result in group:
            dense = result["dense_gmacs"]
            seen: Counter[tuple[Any, ...]] = Counter()  # rows of one training are never two seeds
            for row in [*result["rows"], *map(as_row, result["shrunk"])]:
                calibrated = bool(row.get("calibrated"))
                key = (row["policy"], None if calibrated else round(row["share"], 2), calibrated)
                seen[key] += 1
                columns = (row["share"], row["gmacs"], row["gmacs"] / dense, row["miou"])
                same.setdefault((*key, seen[key]), []).append(columns)
        for (policy, _, calibrated, _), rows in same.items():
            share, gmacs, ratio, miou = (statistics.fmean(column) for column in zip(*rows, strict=True))
            spread = statistics.stdev([row[3] for row in rows]) if len(rows) > 1 else 0.0
            found.append(Point(network, policy, share, gmacs, ratio, miou, spread, len(rows), calibrated))
    return sorted(found, key=lambda p: (p.network, p.policy, p.gmacs))


def as_row(shrunk: dict[str, Any]) -> dict[str, Any]:
    """What a dense network reaches on shrunk images, as a row of its own policy."""
    return {**shrunk, "policy": f"dense {shrunk['size'][0]}x{shrunk['size'][1]}", "share": 1.0}


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
    """Draw the curves: dense networks at several sizes, and networks of blocks under each policy.

    Of the modes with blocks the first of BLOCKS that there is.

    Raises:
        OutputError: if it cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    curves: dict[str, tuple[str, str, list[tuple[float, float, float]]]] = {}  # key of the colour, line, points
    networks = list(dict.fromkeys(p.network for p in found))
    dense = [network for network in networks if network.split()[0] == "dense"]
    for network in dense:
        sizes = sorted((p.gmacs, p.miou, p.spread) for p in found if p.network == network and "dense" in p.policy)
        name = "dense" if len(dense) == 1 else network
        curves[f"{name}, several input sizes"] = ("dense", "--", sizes)
    mode = next((mode for mode in BLOCKS if any(network.split()[0] == mode for network in networks)), None)
    of_mode = [network for network in networks if network.split()[0] == mode]
    for line, network in zip(cycle(("-", ":", "-.")), of_mode, strict=False):
        blocks = [p for p in found if p.network == network and not p.calibrated]
        ends = [(p.gmacs, p.miou, p.spread) for p in blocks if p.policy in ("low", "high")]
        name = "blocks" if len(of_mode) == 1 else network
        for policy in ("oracle", "learned", "heuristic", "random"):
            inner = [(p.gmacs, p.miou, p.spread) for p in blocks if p.policy == policy]
            if inner:
                curves[f"{name}, {policy}"] = (policy, line, sorted([*inner, *ends]))
    for label, (key, style, curve) in curves.items():
        x, y, spread = (list(column) for column in zip(*curve, strict=True))
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
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:  # the second of a format that is not known
        raise OutputError(f"cannot draw {path} ({error}): give another place, and a name that ends in .png.") from error
    finally:
        plt.close(figure)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "json_file", default=None, help="Where to write the points.")
@click.option("--plot", "plot_file", default=None, help="Where to draw them (.png).")
def main(results: tuple[Path, ...], json_file: str | None, plot_file: str | None) -> None:
    """Put the RESULTS (results.json files) of trainings together as one trade-off."""
    for file in (json_file, plot_file):
        check_report(file, overwrite=True)
    found = points(read_results(list(results)))
    show(found)
    write_report(json_file, [asdict(p) for p in found])
    if plot_file is not None:
        plot(found, Path(plot_file))


if __name__ == "__main__":
    try:
        main()
    except SegstreamError as error:
        print(f"tradeoff.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
