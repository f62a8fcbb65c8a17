"""Make a trained network the packaged model: evaluate it as users run it, write the weight file and its card.

`python training/publish.py runs/A/A.safetensors --policy-from runs/B/B.safetensors --data DIR --recipe "..."`. A policy
network needs nothing of the network it was trained with, so it may come from another training.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":  # a checkout: the folder of this file would hide installed packages behind its own names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click
import torch

from segstream.datasets import open_dataset
from segstream.errors import SegstreamError, UsageError
from segstream.evaluate import EvalReport, evaluate
from segstream.geometry import fit, to_input
from segstream.models import Model, load_model, save_model
from segstream.models.registry import WEIGHTS
from segstream.training.checkpoint import make_folder, replace_file
from segstream.training.data import Store
from segstream.training.losses import class_prior, class_shares
from segstream.training.validate import move_policy

BUDGETS = (0.4, 0.25, 0.15)


def measure(model: Model, data_dir: str | None, device: str, limit: int | None) -> list[tuple[str, EvalReport]]:
    """Evaluations of a CamVid model on val, and on the demo, with what to call each."""
    rows: list[tuple[str, EvalReport]] = []

    def add(
        label: str, policy: str, dataset: str = "camvid", budget: float | None = None, all_high: bool = False
    ) -> None:
        threshold = 0.0 if all_high else None
        found = evaluate(model, dataset, data_dir, "val", policy, threshold, budget, device=device, limit=limit)
        rows.append((label, found))
        print(f"{label}: mIoU {found.miou:.4f}, {found.gmacs:.2f} GMAC, {found.high_share:.3f} high", flush=True)

    policies = ["heuristic"] if model.policy_net is None else ["learned", "heuristic"]
    add("high (the dense network)", "high")
    for policy in policies:
        add(policy, policy)
    for budget in BUDGETS:
        add(f"{policies[0]}, budget {budget}", policies[0], budget=budget, all_high=True)
    add("random, budget 0.25", "random", budget=0.25, all_high=True)
    add("low", "low")
    add("demo, high", "high", dataset="demo")
    add(f"demo, {policies[0]}", policies[0], dataset="demo")
    return rows


def move_logits(model: Model, data_dir: str | None, prior: float) -> None:
    """Add what the setting `prior` of a training adds to the logits, for a CamVid model that was trained without.

    Raises:
        UsageError: if the model has one.
    """
    if model.spec.training.get("prior"):
        raise UsageError(f"{model.spec.name} has the prior {model.spec.training['prior']} already: leave out --prior.")
    model.spec.training["prior"] = prior
    store = Store(open_dataset("camvid", data_dir, "train"), torch.device("cpu"))
    with torch.no_grad():
        moved = class_prior(class_shares(store.labels, len(model.spec.classes)), prior)  # [K]
        model.network.get_parameter("logits.conv.bias").add_(moved)
        if model.network.subpixel is not None:
            model.network.get_parameter("subpixel.bias").add_(moved.repeat_interleave(4))


@torch.no_grad()
def move_scores(model: Model, data_dir: str | None, share: float) -> None:
    """Set the learned policy's scores so that on CamVid's training images this share of the blocks is above 0.5.

    What a training calibrates to its target may come out higher on images that the policy has not learned from.

    Raises:
        UsageError: if the model has no policy network.
    """
    if model.policy_net is None:
        raise UsageError(f"{model.spec.name} has no learned policy: leave out --share, or give --policy-from.")
    spec, found = model.spec, []
    data = open_dataset("camvid", data_dir, "train")
    for i in range(len(data)):
        sample = data[i]
        geometry = fit(sample.labels.shape, spec.size, spec.block)  # as it will be used
        found.append(model.policy_net(to_input(sample.image, geometry, spec.mean, spec.std), spec.block).flatten())
    move_policy(model.policy_net, torch.cat(found), share)


def weigh_detail(model: Model, weight: float, share: float | None) -> None:
    """Let detail weigh so much in the model's learned policy; 0 leaves it out.

    Raises:
        UsageError: if the model has none, or no `share` is given to set its scores anew by.
    """
    if model.policy_net is None or share is None:
        lacks = f"{model.spec.name} has no learned policy" if model.policy_net is None else "all scores move with it"
        raise UsageError(f"--detail cannot be set: {lacks}; give --policy-from MODEL and --share SHARE.")
    model.policy_net.detail = torch.tensor(weight) if weight else None


def make_shallow(model: Model, stages: tuple[int, ...]) -> None:
    """Let the model's low blocks pass the first residual block of these stages alone, its weights as they are.

    The last stage's second one does little for low blocks even of a network that was trained with it
    (training/NOTES-earlier.md).

    Raises:
        UsageError: if its encoder has no such stages.
    """
    try:
        model.network.set_shallow(stages)
    except ValueError as error:
        raise UsageError(f"--shallow: {error}.") from error
    model.spec = replace(model.spec, shallow=model.network.shallow)


def shallow_line(stages: tuple[int, ...]) -> str:
    names = " and ".join(map(str, stages))
    return f"Low blocks pass the first residual block of each stage alone where the stage is {names} (`shallow`)."


def best_options(rows: list[tuple[str, EvalReport]], default: str) -> str:
    """The options of the command line that give the highest mIoU on val, of a model with that policy by default."""
    best = max((found for _, found in rows if found.dataset != "demo"), key=lambda found: found.miou)
    options = [] if best.policy == default else [f"--policy {best.policy}"]
    if best.budget < 1:
        options.append(f"--threshold 0 --budget {best.budget:g}")
    return f"`{' '.join(options)}`" if options else "as it is, without options"


def enlarged(size: tuple[int, int]) -> str:
    """What to say of a model that is made for CamVid's images at another size than their own, 480x360."""
    return "" if size == (480, 360) else f", scaled to {size[0]}x{size[1]} for the network"


def card(model: Model, rows: list[tuple[str, EvalReport]], recipe: str) -> str:
    """The model card, Markdown."""
    spec = model.spec
    lines = [
        f"# {spec.name}",
        "",
        f"SwiftNet with a {spec.encoder} encoder in blocks of {spec.block} pixels (SegBlocks), {len(spec.classes)} "
        f"classes: {', '.join(spec.classes)}. Input about {spec.size[0]}x{spec.size[1]}; weights stored as float16.",
        *([shallow_line(spec.shallow)] if spec.shallow else []),
        "",
        "## Data and licence",
        "",
        "Trained from scratch on the 367 training images of CamVid (Brostow, Fauqueur, Cipolla, Pattern Recognition "
        "Letters 2009; 11 classes, the split of the SegNet tutorial) at 480x360"
        f"{enlarged(spec.size)}, and on street scenes drawn by this program. CamVid is for research use, and so are "
        "these weights. No ImageNet weights were used.",
        "",
        "## Training",
        "",
        recipe,
        "",
        "## Results",
        "",
        "On CamVid's 101 validation images (not the test split that papers report) and on 60 frames of the drawn demo, "
        "which were not trained on. Weights were chosen by their mIoU on val.",
        "",
        "| policy | mIoU | pixel accuracy | GMAC | blocks high |",
        "|---|---|---|---|---|",
    ]
    for label, found in rows:
        lines.append(
            f"| {label} | {found.miou:.3f} | {found.pixel_accuracy:.3f} | {found.gmacs:.2f} | {found.high_share:.2f} |"
        )
    high = rows[0][1]
    lines += ["", "IoU by class, all blocks high: "]
    lines[-1] += ", ".join(f"{name} {value:.2f}" for name, value in high.iou.items()) + "."
    lines += [
        "",
        "## Thresholds and budgets",
        "",
        f"The default policy is `{spec.policy}`. Thresholds that are used where none is given: "
        + ", ".join(f"{name} {value:.3f}" for name, value in spec.thresholds.items())
        + ". A lower threshold makes more blocks high.",
        "",
        f"- best quality on val: {best_options(rows, spec.policy)}",
        "- even time for every frame: `--threshold 0 --budget 0.25`, so that always the same number of blocks is high",
        "- fastest: `--threshold 0 --budget 0.15`, or `--policy low`",
        "",
        "## Limits",
        "",
        "CamVid shows one British town by day and at dusk from one camera. Elsewhere, at night or in snow, expect "
        "worse. Not for steering anything.",
        "",
    ]
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.option("--policy-from", default=None, help="Model whose policy network to take.")
@click.option(
    "--prior",
    default=0.0,
    show_default=True,
    help="Add to the logits what the setting prior adds, for a model that was trained without.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=None,
    help="Share of the training images' blocks that the learned policy is to run high.",
)
@click.option(
    "--detail",
    type=click.FloatRange(0),
    default=None,
    help="How much detail is to weigh in the learned policy's scores, as the setting detail; needs --share.",
)
@click.option(
    "--shallow",
    type=int,
    multiple=True,
    help="Stage of which low blocks are to pass the first residual block alone; may be given several times.",
)
@click.option("--name", default="swiftnet-rn18-camvid", show_default=True)
@click.option("--data", "data_dir", default=None, help="Folder of CamVid.")
@click.option("--recipe", default="See the configuration in training/configs/.", help="A paragraph for the card.")
@click.option("--policy", default=None, help="Default policy of the model.")
@click.option("--device", default="auto", show_default=True)
@click.option("--limit", type=int, default=None, help="Evaluate only so many images (for a trial).")
@click.option("--out", type=click.Path(path_type=Path), default=WEIGHTS, help="Folder to write to.")
def main(
    model: str,
    policy_from: str | None,
    prior: float,
    share: float | None,
    detail: float | None,
    shallow: tuple[int, ...],
    name: str,
    data_dir: str | None,
    recipe: str,
    policy: str | None,
    device: str,
    limit: int | None,
    out: Path,
) -> None:
    """Evaluate MODEL and write it, with its card, under a name of the package."""
    make_folder(out)
    loaded = load_model(model)
    thresholds = dict(loaded.spec.thresholds)
    if policy_from is not None:
        other = load_model(policy_from)
        loaded.policy_net = other.policy_net
        thresholds["learned"] = other.spec.thresholds.get("learned", 0.5)
    if shallow:
        make_shallow(loaded, shallow)
    if detail is not None:
        weigh_detail(loaded, detail, share)
    if share is not None:
        move_scores(loaded, data_dir, share)
        thresholds["learned"] = 0.5
    if prior:
        move_logits(loaded, data_dir, prior)
    default = policy or ("learned" if loaded.policy_net is not None else "heuristic")
    loaded.spec = replace(loaded.spec, name=name, policy=default, thresholds=thresholds, results={})
    rows = measure(loaded, data_dir, device, limit)
    for label, found in rows:
        if label.startswith(("high", "demo")) or label in ("learned", "heuristic"):
            loaded.spec.results[f"{found.dataset}_{found.policy}_miou"] = round(found.miou, 4)
    save_model(loaded, out / f"{name}.safetensors")
    text = card(loaded, rows, recipe).encode()
    replace_file(out / f"{name}.md", "the card", lambda file: file.write(text))


if __name__ == "__main__":
    try:
        main()
    except SegstreamError as error:
        print(f"publish.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
