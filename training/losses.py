"""The task loss: pixel cross-entropy, whole or of the worst pixels, and its mean by block."""

from __future__ import annotations

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


def block_mean(loss: Tensor, block: int) -> Tensor:
    """Mean of a map [N, H, W] over each block: [N, H/block, W/block]."""
    return F.avg_pool2d(loss[:, None], block)[:, 0]


def distillation_loss(logits: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy to the teacher's classes, mean over the stride-4 pixels of the image.

    Args:
        logits, teacher: [N, K, h, w].
        known: bool [N, h, w], false in the padding.
    """
    target = teacher.float().softmax(1)
    loss = -(target * logits.float().log_softmax(1)).sum(1)
    return (loss * known).sum() / known.sum().clamp(min=1)


def class_shares(labels: Tensor, classes: int) -> Tensor:
    """How much of the labelled pixels each class has, float64 [K], at least 1e-4.

    Args:
        labels: uint8 [M, H, W].
    """
    counts = torch.bincount(labels.reshape(-1).long(), minlength=IGNORE + 1)[:classes].double()
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
