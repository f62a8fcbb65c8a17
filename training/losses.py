"""The task loss: pixel cross-entropy, whole or of the worst pixels, its mean by block, and the loss of the IoU."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from segstream.datasets import IGNORE


@cache
def enlarge_matrix(size: int, factor: int, device: torch.device) -> Tensor:
    """float32 [factor*size, size]: bilinear enlargement of a line as a matrix (`align_corners=False`)."""
    eye = torch.eye(size)[None]
    return F.interpolate(eye, scale_factor=factor, mode="linear", align_corners=False)[0].T.contiguous().to(device)


def enlarge(logits: Tensor, factor: int = 4) -> Tensor:
    """Bilinear enlargement [N, K, h, w] -> [N, K, factor*h, factor*w] by two matrix products.

    The same as `F.interpolate`, but its gradient is two matrix products too, where interpolation's adds up atomically.
    """
    height, width = logits.shape[-2:]
    down = enlarge_matrix(height, factor, logits.device)
    across = enlarge_matrix(width, factor, logits.device)
    return torch.matmul(torch.matmul(down, logits), across.T)


def pixel_loss(logits: Tensor, labels: Tensor, weights: Tensor, prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy of every pixel, and the weights.

    Args:
        logits: [N, K, h, w], at stride 4.
        labels: int64 [N, 4h, 4w], `IGNORE` where there is none.
        weights: float32 [K].
        prior: float32 [K], of `class_prior`: what the logits hold in use and not in the loss.

    Returns:
        float32 [N, 4h, 4w] twice: weight times cross-entropy, and weight; both 0 where the label is ignored.
    """
    if prior is not None:
        logits = logits - prior[:, None, None]
    loss = F.cross_entropy(enlarge(logits).float(), labels, weight=weights, reduction="none", ignore_index=IGNORE)
    known = labels != IGNORE
    weight = weights[torch.where(known, labels, 0)] * known
    return loss, weight


def mean_loss(loss: Tensor, weight: Tensor, total: Tensor | None = None, bootstrap: float = 1.0) -> Tensor:
    """The batch's loss: weighted mean over all pixels, or over the share `bootstrap` of them with the largest loss.

    Args:
        loss, weight: of `pixel_loss`.
        total: what to divide by in place of the weights' sum, where a batch is spread over processes.
        bootstrap: share of pixels, 1 for all.
    """
    if bootstrap < 1:
        count = max(1, int(bootstrap * loss.numel()))
        loss, worst = loss.flatten().topk(count)
        weight = weight.flatten()[worst]
        total = None
    return loss.sum() / (weight.sum() if total is None else total).clamp(min=1e-6)


def lovasz_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Lovász-Softmax: a stand-in for the IoU, convex in the errors; mean over the classes that the batch holds.

    Cross-entropy counts pixels, so it hardly minds a class of thin things; the IoU, which a result is judged by, does
    (Berman, Triki and Blaschko, "The Lovász-Softmax loss", CVPR 2018). Taken at stride 4: it sorts all pixels of a
    batch by error, once a class, and at full resolution they are sixteen times as many. Of a batch that is spread over
    processes each takes its own pixels.

    Args:
        logits: [N, K, h, w], as they are in use.
        labels: int64 [N, h, w], `IGNORE` where there is none.

    Returns:
        float32 scalar, 0..1; the pixels of all images count as one.
    """
    classes = logits.shape[1]
    known = (labels != IGNORE).reshape(1, -1)
    probabilities = logits.float().softmax(1).transpose(0, 1).reshape(classes, -1)  # [K, N*h*w]
    truth = (labels.reshape(1, -1) == torch.arange(classes, device=labels.device)[:, None]).float()
    # What is ignored has no error: it comes last, and whatever the loss grows by there is multiplied by 0.
    errors, order = ((truth - probabilities).abs() * known).sort(1, descending=True)
    truth = truth.gather(1, order)
    total = truth.sum(1, keepdim=True)
    found = truth.cumsum(1)
    # The IoU that is lost if the i pixels with the largest errors are wrong, and what the i-th adds to it.
    lost = 1 - (total - found) / (total + torch.arange(1, truth.shape[1] + 1, device=truth.device) - found)
    added = torch.cat([lost[:, :1], lost[:, 1:] - lost[:, :-1]], 1)
    present = total[:, 0] > 0
    return ((errors * added).sum(1) * present).sum() / present.sum().clamp(min=1)


def block_mean(loss: Tensor, block: int) -> Tensor:
    """Mean of a map [N, H, W] over each block: [N, H/block, W/block]."""
    return F.avg_pool2d(loss[:, None], block)[:, 0]


def border_density(labels: Tensor, weights: Tensor, block: int) -> Tensor:
    """How much border between classes each block holds, [N, H/block, W/block], weighed by the rarer class.

    Counted are the pairs of neighbours of unlike classes, side by side or one above the other, for the left or upper
    pixel, over the pixels of the block.

    Args:
        labels: int64 [N, H, W]; next to `IGNORE` there is no border.
        weights: float32 [K], larger for rarer classes.
    """
    known = labels != IGNORE
    weight = weights[torch.where(known, labels, 0)] * known

    def between(one: tuple[slice, ...], other: tuple[slice, ...]) -> Tensor:
        apart = (labels[one] != labels[other]) & known[one] & known[other]
        return apart * torch.maximum(weight[one], weight[other])

    every, first, later = slice(None), slice(None, -1), slice(1, None)
    across = between((every, every, first), (every, every, later))
    down = between((every, first), (every, later))
    return block_mean(F.pad(across, (0, 1)) + F.pad(down, (0, 0, 0, 1)), block)


def distillation_loss(logits: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy to the teacher's classes, mean over the stride-4 pixels of the image.

    Args:
        logits, teacher: [N, K, h, w].
        known: bool [N, h, w], false where there is no label.
    """
    target = teacher.float().softmax(1)
    loss = -(target * logits.float().log_softmax(1)).sum(1)
    return (loss * known).sum() / known.sum().clamp(min=1)


def class_shares(labels: Iterable[Tensor], classes: int) -> Tensor:
    """How much of the labelled pixels each class has, float64 [K], at least 1e-4.

    Args:
        labels: uint8 [M, H, W], or maps of any sizes one by one.
    """
    each = [torch.bincount(one.reshape(-1).long(), minlength=IGNORE + 1)[:classes] for one in labels]
    counts = torch.stack(each).sum(0).double()
    return (counts / counts.sum()).clamp(min=1e-4)


def class_weights(shares: Tensor, power: float) -> Tensor:
    """Weights of the classes, float32 [K]: share ** -power, with mean 1 over the labelled pixels.

    Args:
        shares: float64 [K], of `class_shares`.
        power: the setting `class_weights`.
    """
    weights = shares**-power
    return (weights / (weights * shares).sum()).float()


def class_prior(shares: Tensor, power: float) -> Tensor:
    """What frequent classes get back of what `class_weights` took, float32 [K]: power * log(share), its mean 0.

    Menon et al. (Long-tail learning via logit adjustment, 2021) move logits so.

    Args:
        shares: float64 [K], of `class_shares`.
        power: the setting `prior`.
    """
    prior = power * shares.log()
    return (prior - prior.mean()).float()
