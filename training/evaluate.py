"""Evaluate a model: `python training/evaluate.py MODEL --dataset camvid --data DIR --policy learned`.

Like `segstream eval`, and with the policy "oracle", which looks at the labels, scaled to what the network sees, and
weighs classes by their shares of the data set's training images.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # a checkout: the folder of this file would hide installed packages behind its own names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from segstream import flops
from segstream.datasets import DATASETS, Dataset, open_dataset
from segstream.errors import SegstreamError, UsageError
from segstream.evaluate import EvalReport, check_classes, chosen, evaluate, report
from segstream.geometry import fit
from segstream.models import Model, ModelSpec, load_model
from segstream.reports import check_report, write_report
from segstream.training import losses, validate
from segstream.training.config import TrainConfig
from segstream.training.data import read_pair
from segstream.training.loop import device_of
from segstream.training.setup import SPLIT_LIMIT
from segstream.training.validate import Split

DEFAULTS = TrainConfig()


def splits_of(data: Dataset, spec: ModelSpec, device: torch.device) -> Iterator[Split]:
    """The images of a data set one by one, each at the size that the network sees it at in use."""
    for index in range(len(data)):
        image, labels = read_pair(data, index, None)  # uint8 [3, H, W] and [H, W]
        height, width = fit((labels.shape[0], labels.shape[1]), spec.size, spec.block).content
        yield Split(image[None].to(device), labels[None].to(device), (width, height))


def evaluate_oracle(
    model: Model, data: Dataset, share: float, weights: Tensor, prior: Tensor, device: torch.device
) -> EvalReport:
    """Evaluate with the blocks of the whole split that gain most by high resolution, `share` of all.

    Args:
        model: what to evaluate.
        data: the images, which are read twice.
        share: of high blocks.
        weights, prior: float32 [K], of the loss that gains are measured by: those of the model's training.
        device: where the network runs.
    """
    spec, block, classes = model.spec, model.spec.block, len(model.spec.classes)
    network = model.network.to(device).eval()
    weights, prior = weights.to(device), prior.to(device)
    scores = [
        validate.oracle_scores(network, split, weights, block, prior) for split in splits_of(data, spec, device)
    ]  # [1, GH, GW] an image, each of which may have a grid of another shape
    high = validate.share_of(torch.cat([score.flatten() for score in scores]), share)  # bool [B]
    costs = flops.measure(model, block)
    matrix = torch.zeros(classes, classes, dtype=torch.int64)
    gmacs = dense_gmacs = 0.0
    parts = high.split([score.numel() for score in scores])
    for split, score, part in zip(splits_of(data, spec, device), scores, parts, strict=True):
        rows, columns = score.shape[-2:]
        matrix += validate.measure(network, split, part.view_as(score), block, classes)
        gmacs += costs.gmacs(rows, columns, int(part.sum()), "oracle") / len(scores)
        dense_gmacs += costs.dense_gmacs(rows, columns) / len(scores)
    return report(
        matrix,
        spec.classes,
        model=spec.name,
        dataset=data.name,
        split=data.split,
        images=len(scores),
        policy="oracle",
        block=block,
        gmacs=gmacs,
        dense_gmacs=dense_gmacs,
        high_share=float(high.float().mean()),
        budget=share,
    )


def trained_shares(data: Dataset, classes: int) -> Tensor:
    """How much of a data set's labelled pixels each class has as a training takes it, float64 [K]."""
    some = chosen(len(data), SPLIT_LIMIT, in_a_row=False)
    return losses.class_shares((read_pair(data, index, None)[1] for index in some), classes)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.option("--dataset", type=click.Choice(list(DATASETS)), default="camvid", show_default=True)
@click.option("--data", "data_dir", default=None, help="Folder of the data set.")
@click.option("--split", default="val", show_default=True)
@click.option("--policy", default=None, help="learned, heuristic, random, high, low, dense or oracle.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=None)
@click.option("--budget", type=click.FloatRange(0, 1), default=None, help="Largest share of high blocks.")
@click.option(
    "--class-weights",
    type=click.FloatRange(min=0),
    default=None,
    help=f"For the oracle: class weights as in training; the model's, or {DEFAULTS.class_weights}.",
)
@click.option(
    "--prior",
    type=click.FloatRange(min=0),
    default=None,
    help=f"For the oracle: the prior that the logits hold; the model's, or {DEFAULTS.prior}.",
)
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "json_file", default=None, help="Where to write the figures.")
def main(
    model: str,
    dataset: str,
    data_dir: str | None,
    split: str,
    policy: str | None,
    threshold: float | None,
    budget: float | None,
    class_weights: float | None,
    prior: float | None,
    device: str,
    json_file: str | None,
) -> None:
    """mIoU by class, GMAC and share of high blocks of MODEL (a name or a file)."""
    check_report(json_file, overwrite=True)
    if policy == "oracle":
        if threshold is not None:
            raise UsageError("the oracle has no threshold, only --budget: leave out --threshold.")
        loaded = load_model(model)
        data = open_dataset(dataset, data_dir, split)
        check_classes(loaded.spec.classes, data)
        if budget is None:
            raise UsageError("the oracle needs --budget, the share of blocks that it may run high.")
        shares = trained_shares(open_dataset(dataset, data_dir, "train"), len(loaded.spec.classes))
        known = {"class_weights": DEFAULTS.class_weights, "prior": DEFAULTS.prior, **loaded.spec.training}
        weights = losses.class_weights(shares, known["class_weights"] if class_weights is None else class_weights)
        moved = losses.class_prior(shares, known["prior"] if prior is None else prior)
        found = evaluate_oracle(loaded, data, budget, weights, moved, device_of(device))
    else:
        if not (class_weights is None and prior is None):
            raise UsageError("only the oracle weighs classes: leave out --class-weights and --prior.")
        found = evaluate(model, dataset, data_dir, split, policy, threshold, budget, device=device)
    table = Table(title=f"{found.model}, {found.policy}, {found.dataset} {found.split} ({found.images} images)")
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for name, value in found.iou.items():
        table.add_row(name, f"{value:.3f}")
    table.add_row("mean", f"{found.miou:.4f}")
    Console().print(table)
    print(f"GMAC {found.gmacs:.2f} of {found.dense_gmacs:.2f} dense, {100 * found.high_share:.1f} % of blocks high")
    write_report(json_file, found.to_json())


if __name__ == "__main__":
    try:
        main()
    except SegstreamError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
