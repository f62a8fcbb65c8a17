"""Losses against plain torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segstream.datasets import IGNORE
from segstream.evaluate import class_iou, confusion
from segstream.training.losses import (
    block_mean,
    border_density,
    class_prior,
    class_shares,
    class_weights,
    enlarge,
    lovasz_loss,
    mean_loss,
    pixel_loss,
)


def test_enlarging_by_matrices_is_bilinear_interpolation() -> None:
    logits = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarge(logits), expected, atol=1e-5, rtol=1e-5)


def test_weighted_mean_is_torchs_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 4, 4, generator=generator)
    labels = torch.randint(0, 3, (2, 16, 16), generator=generator)
    labels[0, :3] = IGNORE
    weights = torch.tensor([0.5, 1.0, 2.0])
    loss, weight = pixel_loss(logits, labels, weights)
    expected = F.cross_entropy(enlarge(logits), labels, weight=weights, ignore_index=IGNORE)
    torch.testing.assert_close(mean_loss(loss, weight), expected)
    assert float(mean_loss(loss, weight, bootstrap=0.1)) > float(expected)
    torch.testing.assert_close(block_mean(loss, 8)[0, 0, 1], loss[0, :8, 8:].mean())


def test_rare_classes_weigh_more() -> None:
    labels = torch.tensor([[[0] * 9 + [1, IGNORE, IGNORE]]], dtype=torch.uint8)
    shares = class_shares(labels, 2)
    weights = class_weights(shares, 0.5)
    torch.testing.assert_close(float(weights[1] / weights[0]), 3.0, atol=1e-4, rtol=0)
    torch.testing.assert_close(float(0.9 * weights[0] + 0.1 * weights[1]), 1.0, atol=1e-5, rtol=0)


def test_a_prior_gives_frequent_classes_back_what_weights_took() -> None:
    """With weights w, the best logits are log(w * share); the prior of the same power makes them log(share)."""
    shares = torch.tensor([0.9, 0.1], dtype=torch.float64)
    labels = (
        torch.tensor([0] * 9 + [1])
        .repeat(16)[: 10 * 16]
        .view(1, 10, 16)
        .repeat_interleave(4, 1)
        .repeat_interleave(4, 2)
    )
    logits = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100)
    weights, prior = class_weights(shares, 0.5), class_prior(shares, 0.5)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = mean_loss(*pixel_loss(logits.view(1, 2, 1, 1).expand(1, 2, 10, 16), labels, weights, prior))
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(logits.detach().softmax(0), shares.float(), atol=1e-3, rtol=0)
    assert float(class_prior(shares, 0.0).abs().max()) == 0


def test_bootstrap_takes_the_worst_pixels() -> None:
    loss = torch.tensor([[[1.0, 4.0], [2.0, 3.0]]])
    weight = torch.tensor([[[1.0, 2.0], [1.0, 1.0]]])
    assert float(mean_loss(loss, weight, bootstrap=0.5)) == pytest.approx(7 / 3)
    assert float(mean_loss(loss, weight)) == pytest.approx(10 / 5)


def drawn_labels(seed: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels [2, 6, 5] with ignored pixels among them, and a guess that is often right."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (2, 6, 5), generator=generator)
    guess = torch.where(
        torch.rand(labels.shape, generator=generator) < 0.6,
        labels,
        torch.randint(0, classes, labels.shape, generator=generator),
    )
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = IGNORE
    return labels, guess


@pytest.mark.parametrize("seed", range(5))
def test_lovasz_loss_of_a_sure_answer_is_what_the_iou_lacks(seed: int) -> None:
    labels, guess = drawn_labels(seed, 4)
    labels[labels == 2] = IGNORE  # a class that the batch does not hold, though it is guessed
    logits = 100 * F.one_hot(guess, 4).permute(0, 3, 1, 2).float()
    iou = class_iou(confusion(guess, labels, 4))[[0, 1, 3]]
    torch.testing.assert_close(float(lovasz_loss(logits, labels)), 1 - float(iou.mean()), atol=1e-5, rtol=0)


def test_lovasz_loss_minds_neither_ignored_pixels_nor_their_number() -> None:
    labels, _ = drawn_labels(7, 3)
    logits = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = lovasz_loss(logits, labels)
    loss.backward()
    assert logits.grad is not None
    ignored = (labels == IGNORE)[:, None].expand_as(logits.grad)
    assert logits.grad[ignored].abs().max() == 0 < logits.grad[~ignored].abs().max()
    more = torch.cat([logits.detach(), torch.randn(2, 3, 6, 5)], 2)
    torch.testing.assert_close(lovasz_loss(more, torch.cat([labels, torch.full_like(labels, IGNORE)], 1)), loss)
    assert float(lovasz_loss(more, torch.full((2, 12, 5), IGNORE))) == 0


def test_border_density_counts_borders_by_the_rarer_class() -> None:
    labels = torch.zeros(1, 4, 8, dtype=torch.int64)
    labels[0, :, 6] = 1  # a pole in the right block: a border of four pixels on either side
    labels[0, 3, 0] = IGNORE  # no border, whatever lies beside it
    density = border_density(labels, torch.tensor([1.0, 5.0]), 4)
    torch.testing.assert_close(density, torch.tensor([[[0.0, 8 * 5.0 / 16]]]))
    # Between two blocks a border counts for the left and the upper one.
    labels = torch.zeros(1, 8, 4, dtype=torch.int64)
    labels[0, 4:] = 1
    torch.testing.assert_close(border_density(labels, torch.ones(2), 4), torch.tensor([[[4 / 16], [0.0]]]))
