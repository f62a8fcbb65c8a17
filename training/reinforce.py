"""The policy's training by REINFORCE (SegBlocks, TPAMI 2023, section 3.3), the share of high blocks held exactly.

The paper samples each block by itself and adds lambda * (tau - share of high blocks) to the reward. The two pull
against each other, and the share settles where they balance: in a trial at 0.34 for tau 0.2 with lambda 1. Here there
is nothing to balance. Each block gets logistic noise added to its logit, and the K blocks of the batch with the largest
sums run high, K = tau * blocks. With the threshold between the K-th and the next sum, that is the paper's Bernoulli
sample with all logits moved by the same amount, so the probabilities, and the gradient of their logarithm, are those of
sigmoid(logit - threshold). Since K never changes, all shapes are fixed and the whole step can be a CUDA graph.

At evaluation the logits are moved once more, so that the share tau of the blocks of the training images, as the network
sees them in use, lies above 0 (`calibrate`): the rule "high where logit > 0" then gives the target's share.

The reward. The paper gives a block its loss: what is hard should gain from high resolution. But some of what is hard
stays as hard at any resolution (two classes that look alike, labels drawn carelessly). With "gain" a block gets what it
lost by running low: its loss minus the loss that the averaged network has there with every block high.

Both fade where the training images are known by heart: there nothing is lost at low resolution any more. With "borders"
a block gets how much border between classes its labels show, rare classes counting more. That is known of every block
from the first step to the last, whatever the network has learned and whichever resolution the block ran at. So the
policy can also learn it by regression in place of REINFORCE; blocks are still sampled then, for the network to meet
varied grids. What this brings is in training/NOTES.md.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPNESS = 3.0  # how far apart regression draws logits: at 1 the noise of sampling (1.8) hides what was learned


def count_for(share: float, total: int) -> int:
    """Number of high blocks, or whole images, among `total`, at the share wanted."""
    return min(total, max(0, round(share * total)))


def logistic_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Noise for which `logit + noise > 0` has the probability sigmoid(logit); shape and device of `like`."""
    uniform = torch.rand(like.shape, device=like.device, generator=generator).clamp(1e-6, 1 - 1e-6)
    return torch.log(uniform) - torch.log1p(-uniform)


def top_blocks(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` blocks of a whole batch with the largest values.

    Args:
        values: float [N, GH, GW].
        count: how many, known to the host.

    Returns:
        bool [N, GH, GW], exactly `count` true, and the threshold between the smallest chosen and the next value.
    """
    flat = values.reshape(-1)
    order = torch.argsort(flat, descending=True, stable=True)
    high = torch.zeros_like(flat, dtype=torch.bool)
    # Not `high[...] = True`: that copies the value from the host, which a CUDA graph cannot capture.
    high.index_fill_(0, order[:count], True)
    ordered = flat.index_select(0, order)
    return high.view_as(values), (ordered[max(count - 1, 0)] + ordered[min(count, flat.numel() - 1)]) / 2


def sample_blocks(
    logits: Tensor, count: int, generator: torch.Generator, whole: int = 0, shuffled: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw exactly `count` high blocks of a batch.

    Args:
        logits: float32 [N, GH, GW].
        whole: number of images, drawn at random, whose blocks come before all others.
        shuffled: number of other images, drawn at random, whose blocks change places at random: as many of them are
            high as without, but any of them.

    Returns:
        bool [N, GH, GW], and the threshold by which all logits were moved down.
    """
    with torch.no_grad():
        values = logits.detach() + logistic_noise(logits, generator)
        if whole or shuffled:
            images = torch.argsort(torch.rand(len(values), device=values.device, generator=generator))
            values.index_fill_(0, images[:whole], torch.inf)
        if shuffled:
            some = images[whole : whole + shuffled]
            blocks = values.index_select(0, some).flatten(1)
            places = torch.argsort(torch.rand(blocks.shape, device=values.device, generator=generator))
            values.index_copy_(0, some, blocks.gather(1, places).view(-1, *values.shape[1:]))
        return top_blocks(values, count)


def policy_loss(logits: Tensor, high: Tensor, threshold: Tensor, reward: Tensor) -> Tensor:
    """REINFORCE: make what was chosen for a block likelier where that was worth more than on average.

    Args:
        logits: float32 [N, GH, GW].
        high: bool [N, GH, GW], the choice.
        threshold: of `sample_blocks`.
        reward: float32 [N, GH, GW], how much a block deserves high resolution.
    """
    centred = reward - reward.mean()
    advantage = (centred / centred.std(correction=0).clamp(min=1e-6)).clamp(-5, 5).detach()
    # The threshold follows the logits, so their common part decides nothing and must get no gradient: chasing the
    # threshold, all logits once grew without end.
    middle = logits.mean()
    moved = logits - middle + (middle - threshold).detach()
    sign = torch.where(high, 1.0, -1.0)
    log_probability = F.logsigmoid(sign * moved)
    # The last term keeps logits within reach of the noise, so that blocks are still tried at both resolutions.
    return -(log_probability * sign * advantage).mean() + 0.02 * ((logits - middle) ** 2).mean()


def regression_loss(logits: Tensor, reward: Tensor) -> Tensor:
    """Make each block's logit foretell its reward, for a reward that is known of every block.

    Args:
        logits: float32 [N, GH, GW].
        reward: float32 [N, GH, GW]; the logits learn it in standard deviations of the batch, times SHARPNESS.
    """
    centred = reward - reward.mean()
    target = (centred / centred.std(correction=0).clamp(min=1e-6)).clamp(-3, 5).detach()
    return ((logits / SHARPNESS - target) ** 2).mean()


def calibrate(logits: Tensor, share: float) -> float:
    """What to subtract from logits [M, GH, GW] so that `share` of them lies above 0."""
    ordered = logits.reshape(-1).float().sort(descending=True).values
    count = count_for(share, ordered.numel())
    if count == 0:
        return float(ordered[0]) + 1e-3
    if count == ordered.numel():
        return float(ordered[-1]) - 1e-3
    return float(ordered[count - 1] + ordered[count]) / 2
