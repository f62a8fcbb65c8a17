"""mIoU, cost and share of high blocks of a model on a labelled data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from segstream import flops
from segstream.blocks import Grid
from segstream.config import BORDERS, STEADY
from segstream.datasets import IGNORE, Dataset, Sample, open_dataset
from segstream.engines.choose import check_device
from segstream.engines.torch_engine import to_labels
from segstream.errors import UsageError
from segstream.geometry import fit, to_input
from segstream.models import Model, load_model
from segstream.policies import (
    LOOKING,
    POLICIES,
    LastFrame,
    bonus_of,
    check_options,
    own_threshold,
    score,
    select,
    threshold_in_use,
)

DENSE = "dense"  # not a policy: the network without blocks


@dataclass(frozen=True, slots=True)
class EvalReport:
    """What an evaluation measured.

    Attributes:
        model, dataset, split: what was evaluated, by name.
        images: number of images.
        policy: the policy that chose the blocks, or "dense".
        miou: mean IoU over the classes that occur or are predicted, 0..1.
        iou: IoU by class name, 0..1; classes that neither occur nor are predicted are left out.
        pixel_accuracy: share of labelled pixels with the right class, 0..1.
        gmacs, dense_gmacs: mean GMAC an image that ran, and that the dense network needs.
        high_share: share of blocks at high resolution, 0..1.
        block: side of a block in pixels of the network input.
        threshold, budget: what the policy was held to; no threshold where blocks were chosen by rank.
        video: whether each image looked back at the one before.
    """

    model: str
    dataset: str
    split: str
    images: int
    policy: str
    miou: float
    iou: dict[str, float]
    pixel_accuracy: float
    gmacs: float
    dense_gmacs: float
    high_share: float
    block: int
    threshold: float | None = None
    budget: float = 1.0
    video: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(
    model: str | Path | Model,
    dataset: str | Dataset = "camvid",
    data_dir: str | Path | None = None,
    split: str = "val",
    policy: str | None = None,
    threshold: float | None = None,
    budget: float | None = None,
    size: tuple[int, int] | None = None,
    device: str = "auto",
    block: int | None = None,
    limit: int | None = None,
    video: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> EvalReport:
    """Segment every image of a split as a user would, and compare with its labels at their own size.

    Args:
        model: name or path of a model, or a loaded one.
        dataset: name of a data set, or an open one.
        data_dir: the folder of a data set given by name.
        split: its split.
        policy: one of `segstream.policies.POLICIES`, or "dense", which takes neither threshold nor budget; None takes
            the model's own.
        threshold: score above which a block is high; None takes the model's own for the policy.
        budget: largest share of an image's blocks that may be high; None is 1.
        size: width and height of the network input; None takes the model's.
        device: "auto", "cpu", "cuda" or "cuda:N".
        block: side of a block in pixels; None takes the model's.
        limit: evaluate only so many images, spread over the split; with `video` its first ones.
        video: the images follow one another as in a video, and the grid of each looks back at the one before, as in
            `segstream run`. By default every image stands by itself.
        progress: called with the number of images done and to do.

    Raises:
        UsageError: an option or a device that does not exist, `video` with a policy that does not look at the picture,
            or a data set with other classes than the model's.
        SourceError: a data set that cannot be read.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    data = dataset if isinstance(dataset, Dataset) else open_dataset(dataset, data_dir, split)
    check_classes(loaded.spec.classes, data)
    runner = _runner(loaded, policy, threshold, budget, size, device, block)
    if video:
        check_video(runner.policy)
    sums = _Sums(loaded, runner.block)
    indices = chosen(len(data), limit, video)
    last: LastFrame | None = None
    for done, index in enumerate(indices, 1):
        sample = data[index]
        output = runner.segment(sample, last)
        sums.add(output, sample.labels, runner.policy)
        last = output if video else None
        if progress is not None:
            progress(done, len(indices))
    facts = {"threshold": runner.threshold, "budget": runner.budget, "video": video, "block": runner.block}
    return sums.report(dataset=data.name, split=data.split, policy=runner.policy, **facts)


@dataclass(frozen=True, slots=True)
class _Runner:
    """How every image of an evaluation is segmented; see `evaluate`.

    Attributes:
        model: the model, on `device`.
        policy: one of `segstream.policies.POLICIES`, or "dense".
        threshold: score above which a block is high.
        budget: largest share of an image's blocks that may be high.
        size: width and height of the network input; None takes the model's.
        device: where the network runs.
        block: side of a block in pixels.
    """

    model: Model
    policy: str
    threshold: float
    budget: float
    size: tuple[int, int] | None
    device: torch.device
    block: int

    @torch.inference_mode()
    def segment(self, sample: Sample, last: LastFrame | None) -> LastFrame:
        """Segment one image, which looks back at the one before it in a video, or at nothing.

        Returns:
            its grid (all high for the dense network) and class map, for the next image to look back at.
        """
        spec = self.model.spec
        geometry = fit(sample.labels.shape, self.size or spec.size, self.block, exact=self.size is not None)
        x = to_input(sample.image, geometry, spec.mean, spec.std).to(self.device)
        shape = (geometry.rows, geometry.columns)
        if self.policy == DENSE:
            grid, high = None, np.ones(shape, dtype=np.bool_)
        else:
            scores = score(self.policy, x, self.block, self.model.policy_net)
            usual = own_threshold(spec, self.policy)
            bonus = bonus_of(self.policy, shape, last, self.threshold, usual, STEADY, BORDERS)
            if bonus is not None:
                scores = scores + torch.from_numpy(bonus).to(self.device)
            grid = Grid(select(scores, self.threshold, self.budget), self.block)
            high = grid.high[0].cpu().numpy()
        return LastFrame(high, to_labels(self.model.network(x, grid), geometry), geometry.block_px)


def _runner(
    model: Model,
    policy: str | None,
    threshold: float | None,
    budget: float | None,
    size: tuple[int, int] | None,
    device: str,
    block: int | None,
) -> _Runner:
    """Check the options of `evaluate`, take the model's own for those left out, and put the model on its device."""
    spec = model.spec
    policy = policy or spec.policy
    if policy == DENSE and not (threshold is None and budget is None):
        raise UsageError("the dense network has no blocks to choose: leave out threshold and budget.")
    budget = 1.0 if budget is None else budget
    if policy != DENSE:
        check_options(policy, threshold, budget)
    threshold = 0.0 if policy == DENSE else threshold_in_use(spec, policy, threshold)
    place = torch.device(pick_device(device))
    network = model.network.to(place).eval()
    policy_net = None if model.policy_net is None else model.policy_net.to(place).eval()
    return _Runner(Model(network, policy_net, spec), policy, threshold, budget, size, place, block or spec.block)


class _Sums:
    """What the images of an evaluation add up to.

    Args:
        model: the model they are segmented with.
        block: side of a block in pixels.
    """

    def __init__(self, model: Model, block: int) -> None:
        self.spec = model.spec
        self.costs = flops.measure(model, block)
        self.matrix = torch.zeros(len(self.spec.classes), len(self.spec.classes), dtype=torch.int64)
        self.images = 0
        self.gmacs = self.dense_gmacs = self.high = 0.0

    def add(self, output: LastFrame, labels: NDArray[np.uint8], policy: str) -> None:
        """Add an image that was segmented by `policy`, whose true classes are `labels`, uint8 [H, W]."""
        rows, columns = output.blocks.shape
        n_high = int(output.blocks.sum())
        self.images += 1
        self.matrix += confusion(torch.from_numpy(output.labels), torch.from_numpy(labels), len(self.spec.classes))
        self.gmacs += self.costs.gmacs(rows, columns, n_high, policy)
        self.dense_gmacs += self.costs.dense_gmacs(rows, columns)
        self.high += n_high / (rows * columns)

    def report(self, **facts: Any) -> EvalReport:
        """The figures, with the facts that are not figures."""
        return report(
            self.matrix,
            self.spec.classes,
            model=self.spec.name,
            images=self.images,
            gmacs=self.gmacs / self.images,
            dense_gmacs=self.dense_gmacs / self.images,
            high_share=self.high / self.images,
            **facts,
        )


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Confusion matrix, int64 [K, K] (row: true class), of integer maps of one shape; `IGNORE` pixels are left out."""
    return multiclass_confusion_matrix(
        predicted.reshape(-1).long(), labels.reshape(-1).long(), classes, ignore_index=IGNORE, validate_args=False
    )


def class_iou(matrix: Tensor) -> Tensor:
    """IoU by class, float64 [K], of a confusion matrix; NaN where a class neither occurs nor is predicted."""
    matrix = matrix.double()
    hit = matrix.diag()
    return hit / (matrix.sum(0) + matrix.sum(1) - hit)


def mean_iou(matrix: Tensor) -> float:
    """Mean of `class_iou` over the classes that occur or are predicted."""
    return float(class_iou(matrix).nanmean())


def report(matrix: Tensor, classes: tuple[str, ...], **facts: Any) -> EvalReport:
    """Put the figures of a confusion matrix [K, K] and the other facts of an evaluation together."""
    iou = class_iou(matrix).tolist()
    return EvalReport(
        miou=mean_iou(matrix),
        iou={name: value for name, value in zip(classes, iou, strict=True) if value == value},
        pixel_accuracy=float(matrix.diag().sum() / matrix.sum().clamp(min=1)),
        **facts,
    )


def check_classes(classes: tuple[str, ...], data: Dataset) -> None:
    """Refuse a data set whose classes are not the model's."""
    if [c.lower() for c in classes] != [c.lower() for c in data.classes]:
        raise UsageError(
            f"the model knows {len(classes)} classes ({', '.join(classes[:3])}, ...) but {data.name} has "
            f"{len(data.classes)} ({', '.join(data.classes[:3])}, ...): use a model trained for {data.name}."
        )


def check_video(policy: str) -> None:
    """Refuse to look back with a policy to which it makes no difference."""
    if policy not in LOOKING:
        raise UsageError(
            f"the policy {policy!r} does not look at the picture, so no image can look back at the one before; leave "
            f"--video out, or use --policy {' or '.join(LOOKING)}"
        )


def chosen(count: int, limit: int | None, in_a_row: bool) -> list[int]:
    """Positions of at most `limit` of `count` images: the first ones if they must be in a row, else spread."""
    if limit is None or limit >= count:
        return list(range(count))
    if limit < 1:
        raise UsageError(f"at least one image must be evaluated, not {limit}.")
    if in_a_row:
        return list(range(limit))
    return [i * count // limit for i in range(limit)]


def pick_device(device: str) -> str:
    """The device that "auto" stands for, or the one that was named.

    Raises:
        UsageError: if there is no such device.
    """
    check_device(device)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


__all__ = ["DENSE", "POLICIES", "EvalReport", "class_iou", "confusion", "evaluate", "mean_iou", "report"]
