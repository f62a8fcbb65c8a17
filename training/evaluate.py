"""Evaluate a model: `python training/evaluate.py MODEL --dataset camvid --data DIR --policy learned`.

Like `segstream eval`, and with the policy "oracle", which looks at the labels and weighs classes by their shares of the
data set's training images. The oracle measures at the model's input size, to which labels are scaled too where the
images have another.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # a checkout: the folder of this file would hide installed packages behind its own names
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click
from rich.console import Console
from rich.table import Table
from torch import Tensor

from segstream import flops
from segstream.datasets import DATASETS, open_dataset
from segstream.errors import SegstreamError, UsageError
from segstream.evaluate import EvalReport, check_classes, evaluate, report
from segstream.models import Model, load_model
from segstream.reports import check_report, write_report
from segstream.training import losses, validate
from segstream.training.config import TrainConfig
from segstream.training.data import Store
from segstream.training.loop import device_of
from segstream.training.setup import whole_split
from segstream.training.validate import Split

DEFAULTS = TrainConfig()


def evaluate_oracle(
    model: Model, name: str, part: str, split: Split, share: float, weights: Tensor, prior: Tensor
) -> EvalReport:
    """Evaluate with the blocks of the whole split that gain most by high resolution, `share` of all.

    Args:
        model: what to evaluate.
        name, part: of the data set and its split.
        split: the images.
        share: of high blocks.
        weights, prior: float32 [K], of the loss that gains are measured by: those of the model's training.
    """
    block, classes = model.spec.block, model.spec.classes
    network = model.network.to(split.images.device).eval()
    high = validate.share_of(validate.oracle_scores(network, split, weights, block, prior), share)
    matrix = validate.measure(network, split, high, block, len(classes))
    images, rows, columns = high.shape
    costs = flops.measure(model, block)
    return report(
        matrix,
        classes,
        model=model.spec.name,
        dataset=name,
        split=part,
        images=images,
        policy="oracle",
        block=block,
        gmacs=costs.gmacs(rows, columns, int(high.sum()), "oracle", images) / images,
        dense_gmacs=costs.dense_gmacs(rows, columns),
        high_share=float(high.float().mean()),
        budget=share,
    )


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
        place = device_of(device)
        size = loaded.spec.size
        samples = whole_split(Store(data, place, size), place)
        # As in a training, whose classes are as frequent as in its training images.
        trained_on = whole_split(Store(open_dataset(dataset, data_dir, "train"), place, size), place)
        shares = losses.class_shares(trained_on.labels, len(loaded.spec.classes))
        known = {"class_weights": DEFAULTS.class_weights, "prior": DEFAULTS.prior, **loaded.spec.training}
        weights = losses.class_weights(shares, known["class_weights"] if class_weights is None else class_weights)
        moved = losses.class_prior(shares, known["prior"] if prior is None else prior)
        found = evaluate_oracle(loaded, data.name, data.split, samples, budget, weights, moved)
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
