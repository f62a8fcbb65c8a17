"""Evaluation on cached images during training: fast, in batches, under any choice of blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from segstream.blocks import Grid
from segstream.evaluate import confusion
from segstream.models import PolicyNet, SwiftNet
from segstream.models.spec import IMAGENET_MEAN, IMAGENET_STD
from segstream.policies import detail
from segstream.training.augment import plain, scaled
from segstream.training.losses import block_mean, enlarge, pixel_loss
from segstream.training.reinforce import calibrate, top_blocks

BATCH = 16


@dataclass(slots=True)
class Split:
    """Images of a split on the device, all of one size.

    Attributes:
        images: uint8 [M, 3, H, W].
        labels: uint8 [M, H, W].
        size: width and height that the network sees the images at; None is their own.
    """

    images: Tensor
    labels: Tensor
    size: tuple[int, int] | None = None

    @property
    def content(self) -> tuple[int, int]:
        """Height and width that the network sees the images at, in pixels."""
        return self.size[::-1] if self.size is not None else (self.labels.shape[-2], self.labels.shape[-1])

    def grid_shape(self, block: int) -> tuple[int, int]:
        """Rows and columns of blocks of an image."""
        height, width = self.content
        return -(-height // block), -(-width // block)

    def pictures(self, start: int, count: int = BATCH) -> Tensor:
        """Some images at the size that the network sees, [n, 3, h, w], 0..255."""
        images = self.images[start : start + count]
        if tuple(images.shape[-2:]) == self.content:
            return images
        return scaled(images, self.content)

    def x(self, start: int, block: int) -> Tensor:
        """Some images as network input, [n, 3, GH*block, GW*block]."""
        x = plain(self.pictures(start), IMAGENET_MEAN, IMAGENET_STD, block)
        return x.to(memory_format=torch.channels_last) if x.is_cuda else x

    def truth(self, start: int, x: Tensor) -> Tensor:
        """The labels of network input `x`, int64 [n, GH*block, GW*block], "ignored" in its padding."""
        labels = self.labels[start : start + BATCH]
        if tuple(labels.shape[-2:]) != self.content:
            labels = F.interpolate(labels[:, None].float(), size=self.content, mode="nearest-exact")[:, 0]
        return pad_labels(labels.long(), x)


def scores_of(split: Split, block: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Scores of all blocks of a split, float32 [M, GH, GW]; `score` takes network input."""
    with evaluating(split.images.device):
        return torch.cat([score(split.x(i, block)).float() for i in range(0, len(split.images), BATCH)])


def learned_scores(split: Split, policy_net: PolicyNet, block: int) -> Tensor:
    """Logits of the policy network, float32 [M, GH, GW]."""
    return scores_of(split, block, lambda x: policy_net(x, block))


def detail_scores(split: Split, block: int) -> Tensor:
    """Scores of the heuristic policy, float32 [M, GH, GW]."""
    return scores_of(split, block, lambda x: detail(x, block))


def random_scores(split: Split, block: int, seed: int = 0) -> Tensor:
    """Random scores, float32 [M, GH, GW], the same for every call."""
    rows, columns = split.grid_shape(block)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(split.images), rows, columns, generator=generator).to(split.images.device)


def oracle_scores(network: SwiftNet, split: Split, weights: Tensor, block: int, prior: Tensor | None = None) -> Tensor:
    """The oracle's scores, float32 [M, GH, GW]: each block's loss with all blocks low, less that with all high.

    It looks at the labels, so it is no policy to use, but tells what a perfect judge of single blocks would reach
    (SegBlocks, TPAMI 2023, section 4.3).
    """
    gains = []
    with evaluating(split.images.device):
        for i in range(0, len(split.images), BATCH):
            x = split.x(i, block)
            labels = split.truth(i, x)
            low = torch.zeros(len(x), x.shape[-2] // block, x.shape[-1] // block, dtype=torch.bool, device=x.device)
            lost = [pixel_loss(network(x, grid), labels, weights, prior)[0] for grid in (Grid(low, block), None)]
            gains.append(block_mean(lost[0].float(), block) - block_mean(lost[1].float(), block))
    return torch.cat(gains)


def pad_labels(labels: Tensor, x: Tensor) -> Tensor:
    """Labels [N, H, W] padded by "ignored" to the network input's size."""
    right, bottom = x.shape[-1] - labels.shape[-1], x.shape[-2] - labels.shape[-2]
    return F.pad(labels, (0, right, 0, bottom), value=255)


def share_of(scores: Tensor, share: float) -> Tensor:
    """Grids bool [M, GH, GW] with exactly this share of all blocks high, highest scores first."""
    count = round(share * scores.numel())
    return top_blocks(scores, count)[0]


def threshold_for(scores: Tensor, share: float) -> float:
    """The score above which `share` of all blocks lie."""
    return calibrate(scores, share)


@torch.no_grad()
def calibrate_policy(policy_net: PolicyNet, split: Split, block: int, share: float) -> None:
    """Move the policy network's last bias so that `share` of a split's blocks has logits above 0."""
    move_policy(policy_net, learned_scores(split, policy_net, block), share)


@torch.no_grad()
def move_policy(policy_net: PolicyNet, logits: Tensor, share: float) -> None:
    """Move the policy network's last bias so that `share` of its logits, of any shape, lies above 0."""
    cast(Tensor, policy_net.layers[-1].bias).sub_(threshold_for(logits, share))


def measure(
    network: SwiftNet, split: Split, high: Tensor | None, block: int, classes: int, size: tuple[int, int] | None = None
) -> Tensor:
    """Confusion matrix, int64 [K, K] on the CPU, of a split under given grids.

    Args:
        network: in evaluation mode.
        high: bool [M, GH, GW]; None runs the dense network.
        size: width and height that the network sees the images at in place of the split's, padded to a multiple of 32
            alone (dense only).
    """
    if size is not None:
        split, block = replace(split, size=size), 32
    matrix = torch.zeros(classes, classes, dtype=torch.int64, device=split.images.device)
    height, width = split.labels.shape[-2:]
    with evaluating(split.images.device):
        for i in range(0, len(split.images), BATCH):
            x = split.x(i, block)
            chosen = None if high is None else high[i : i + BATCH]
            if chosen is not None and bool(chosen.all()):
                chosen = None
            logits = network(x, None if chosen is None else Grid(chosen, block))
            if split.content == (height, width):
                full = enlarge(logits.float())[:, :, :height, :width]
            else:
                seen = logits[:, :, : split.content[0] // 4, : split.content[1] // 4].float()
                full = F.interpolate(seen, size=(height, width), mode="bilinear", align_corners=False)
            matrix += confusion(full.argmax(1), split.labels[i : i + BATCH], classes)
    return matrix.cpu()


@contextmanager
def evaluating(device: torch.device) -> Iterator[None]:
    """Context of an evaluation: no gradients, bfloat16 on CUDA, and no tuning of libraries to sizes that change."""
    cuda = device.type == "cuda"
    half = torch.autocast(device.type, torch.bfloat16, enabled=cuda, cache_enabled=False)
    cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=True)
    with torch.no_grad(), half, cudnn:
        yield
