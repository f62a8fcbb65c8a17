"""What a training step minimises: the network's loss on a grid, and the policy's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from segstream.blocks import Grid
from segstream.datasets import IGNORE
from segstream.models import PolicyNet, SwiftNet
from segstream.policies import detail
from segstream.training import losses
from segstream.training.config import TrainConfig
from segstream.training.reinforce import count_for, policy_loss, regression_loss, sample_blocks, top_blocks

TERMS = ("loss", "task", "distill", "policy")
BORDER_POWER = 1.0  # the rarer of two classes weighs frequency ** -BORDER_POWER in the reward "borders"


class Objective(nn.Module):
    """Network and policy network as one module, so that DistributedDataParallel sees every gradient.

    Args:
        config: the run's settings.
        network: the segmentation network.
        policy_net: the policy network, of the modes "reinforce" and "policy".
        shares: float64 [K], of `losses.class_shares`.

    Attributes:
        weights, prior: float32 [K], of the classes.
        border_weights: float32 [K], of the classes, for the reward "borders".
    """

    weights: Tensor
    prior: Tensor
    border_weights: Tensor

    def __init__(self, config: TrainConfig, network: SwiftNet, policy_net: PolicyNet | None, shares: Tensor) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.policy_net = policy_net
        self.register_buffer("weights", losses.class_weights(shares, config.class_weights))
        self.register_buffer("prior", losses.class_prior(shares, config.prior), persistent=False)
        borders = losses.class_weights(shares, BORDER_POWER)
        self.register_buffer("border_weights", borders, persistent=False)

    def forward(
        self,
        x: Tensor,
        labels: Tensor,
        n_high: int,
        generator: torch.Generator,
        judge: Tensor | None = None,
        teacher: Tensor | None = None,
        total: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch and its parts, float32 [4] in the order of `TERMS`; the first is to be minimised.

        Args:
            x: float [N, 3, H, W], normalised.
            labels: int64 [N, H, W].
            n_high: number of high blocks in the batch; all of them runs the dense network.
            generator: for the choice of blocks.
            judge: [M, K, H/4, W/4], the averaged network's logits with every block high, for the images `judged`.
            teacher: [N, K, H/4, W/4], logits to distil from; None takes the judge's.
            total: what to divide the task loss by, where the batch is spread over processes.
        """
        config, block = self.config, self.config.block
        rows, columns = x.shape[-2] // block, x.shape[-1] // block
        high: Tensor | None = None
        policy_logits = own_logits = threshold = None
        everything = x.shape[0] * rows * columns
        if self.policy_net is not None:
            # In full precision: in bfloat16 neighbouring scores are equal, and which block comes first is chance.
            with torch.autocast(x.device.type, enabled=False):
                own_logits = self.policy_net.own_logits(x.float(), block)  # which alone foretell
                policy_logits = self.policy_net.with_detail(own_logits, x.float(), block)
        if config.mode == "policy" and own_logits is not None:
            policy = regression_loss(own_logits, losses.border_density(labels, self.border_weights, block))
            return torch.stack([policy, torch.zeros_like(policy), torch.zeros_like(policy), policy.detach()])
        if n_high < everything and policy_logits is not None:
            images = [count_for(share, len(x)) for share in (config.whole, config.shuffled)]
            high, threshold = sample_blocks(policy_logits, n_high, generator, *images)
        elif n_high < everything:
            high = mixed_grid(x, block, n_high, generator)
        logits = self.network(x, None if high is None else Grid(high, block, n_high))

        loss, weight = losses.pixel_loss(logits, labels, self.weights, self.prior)
        task = losses.mean_loss(loss, weight, total, config.bootstrap)
        if config.lovasz:
            task = task + config.lovasz * losses.lovasz_loss(logits, labels[:, 2::4, 2::4])
        # DistributedDataParallel waits for a gradient of every parameter, those of idle layers too.
        task = task + 0.0 * sum(p.mean() for p in idle_parameters(self.network, n_high, everything))
        zero = task.new_zeros(())
        distill = zero
        teacher = judge if teacher is None else teacher
        if teacher is not None and config.distill:
            known = labels[:, 2::4, 2::4] != IGNORE
            distill = config.distill * losses.distillation_loss(logits, teacher, known)
        policy = zero
        if policy_logits is not None and own_logits is not None and high is not None and threshold is not None:
            seen, reward = self.reward(loss.detach(), labels, judge)
            if config.policy_loss == "regression":
                policy = regression_loss(own_logits[seen], reward)
            else:
                policy = policy_loss(policy_logits[seen], high[seen], threshold, reward)
        elif policy_logits is not None:
            # Nothing was chosen: as above.
            policy = 0.0 * policy_logits.mean()
        return torch.stack([task + distill + policy, task.detach(), distill.detach(), policy.detach()])

    def reward(self, loss: Tensor, labels: Tensor, judge: Tensor | None) -> tuple[slice, Tensor]:
        """Which images of the batch teach the policy, and what their blocks deserve, float32 [M, GH, GW].

        Args:
            loss: float32 [N, H, W], of `losses.pixel_loss`.
            labels: int64 [N, H, W].
            judge: as for `forward`.
        """
        block = self.config.block
        if self.config.reward == "borders":
            return slice(None), losses.border_density(labels, self.border_weights, block)
        if self.config.reward == "loss" or judge is None:
            return slice(None), losses.block_mean(loss, block)
        seen = judged(self.config, len(labels))
        best, _ = losses.pixel_loss(judge, labels[seen], self.weights, self.prior)
        return seen, losses.block_mean(loss[seen] - best, block)


def idle_parameters(network: SwiftNet, n_high: int, blocks: int) -> list[nn.Parameter]:
    """Parameters of the layers that are for low blocks alone where none is low, or for high ones where none is high.

    Args:
        n_high: number of high blocks in the batch.
        blocks: number of all its blocks.
    """
    idle: list[nn.Parameter] = []
    if n_high == blocks and network.subpixel is not None:
        idle += network.subpixel.parameters()
    if n_high == 0:
        for stage in network.shallow:
            for residual in getattr(network.encoder, f"layer{stage}")[1:]:
                idle += residual.parameters()
    return idle


def needs_judge(config: TrainConfig, whole: bool) -> bool:
    """Whether a step asks the averaged network; `whole`: every block runs high."""
    gains = config.mode == "reinforce" and config.reward == "gain" and not whole
    return config.mode not in ("dense", "policy") and (gains or (config.distill > 0 and not taught(config)))


def taught(config: TrainConfig) -> bool:
    """Whether networks other than the averaged one are distilled from."""
    return len(config.teachers) > 0 or config.taught_by is not None


def judged(config: TrainConfig, batch: int) -> slice:
    """Which images of a batch the averaged network judges: evenly spread, the last one (a drawn scene) among them."""
    every = max(1, round(1 / config.judged))
    return slice((batch - 1) % every, None, every)


def mixed_grid(x: Tensor, block: int, n_high: int, generator: torch.Generator) -> Tensor:
    """Grids with exactly `n_high` high blocks in the batch, half of the images by detail and half at random.

    So the network meets the grids of a sensible policy and any others alike.

    Args:
        x: float [N, 3, H, W], normalised.

    Returns:
        bool [N, GH, GW].
    """
    with torch.no_grad():
        scores = detail(x, block)
        centre, spread = scores.mean((1, 2), keepdim=True), scores.std((1, 2), keepdim=True)
        scores = (scores - centre) / spread.clamp(min=1e-6)
        noise = torch.randn(scores.shape, device=x.device, generator=generator)
        sensible = torch.rand(x.shape[0], 1, 1, device=x.device, generator=generator) < 0.5
        return top_blocks(torch.where(sensible, scores + 0.5 * noise, noise), n_high)[0]


def parameter_groups(objective: Objective, config: TrainConfig) -> list[dict[str, Any]]:
    """AdamW's groups: weights with decay and the rest without, for encoder, decoder and policy network.

    Each group carries its `peak` learning rate.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        if name.startswith("policy_net."):
            peak = config.policy_lr
        else:
            peak = config.lr * (config.encoder_lr if ".encoder." in name else 1.0)
        decay = config.weight_decay if parameter.dim() > 1 else 0.0
        groups.setdefault((peak, decay), []).append(parameter)
    return [{"params": parameters, "peak": peak, "weight_decay": decay} for (peak, decay), parameters in groups.items()]
