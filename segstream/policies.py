"""Which blocks run at high resolution: every policy gives each block a score, one rule turns scores into a grid."""

from __future__ import annotations

import zlib
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segstream.blocks.detail import detail
from segstream.errors import UsageError
from segstream.models.policy_net import PolicyNet
from segstream.models.spec import ModelSpec

POLICIES = ("learned", "heuristic", "random", "high", "low")
# A block is high above this score where neither the user nor the model says otherwise.
THRESHOLDS = {"learned": 0.5, "heuristic": 0.12, "random": 0.5, "high": 0.5, "low": 0.5}
LOOKING = ("learned", "heuristic")  # policies whose scores are of the picture
EVERY = 4  # pixels of a class map from one that is looked at for borders to the next


class LastFrame(NamedTuple):
    """What is known of the frame before in a video, for the next one's grid to look back at.

    Attributes:
        blocks: bool [GH, GW], its grid.
        labels: uint8 [H, W], its class map.
        block_px: height and width of a block in pixels of that frame.
    """

    blocks: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    block_px: tuple[float, float]


def own_threshold(spec: ModelSpec, policy: str) -> float:
    """The model's own threshold for one of `POLICIES`, or the general one where the model names none."""
    return spec.thresholds.get(policy, THRESHOLDS[policy])


def threshold_in_use(spec: ModelSpec, policy: str, threshold: float | None) -> float:
    """The threshold that a policy's scores are held to: the user's, or the model's own where that is None.

    Under "high" every block scores 1 and is above it, whatever the user says.
    """
    value = own_threshold(spec, policy) if threshold is None else threshold
    return min(value, THRESHOLDS["high"]) if policy == "high" else value


def score(
    policy: str,
    x: Tensor,
    block: int,
    policy_net: PolicyNet | None = None,
    seed: int = 0,
) -> Tensor:
    """Score every block of an image: how much it would gain from high resolution.

    Args:
        policy: "learned" (the paper's policy network), "heuristic" (detail lost when the image is shrunk), "random"
            (drawn from the image's own bytes and `seed`, so that the same frame gives the same grid), "high", "low".
        x: float [N, 3, GH*block, GW*block], normalised.
        block: side of a block in pixels.
        policy_net: the network of the learned policy.
        seed: for the random policy.

    Returns:
        float32 [N, GH, GW], 0..1.

    Raises:
        UsageError: if the policy is unknown, or is "learned" and the model has no policy network.
    """
    n, _, height, width = x.shape
    shape = (n, height // block, width // block)
    if policy == "learned":
        if policy_net is None:
            raise UsageError(
                "this model has no policy network, so the policy 'learned' cannot run; use --policy heuristic or a "
                "model with a learned policy (see `segstream models`)"
            )
        return policy_net(x, block).float().sigmoid()
    if policy == "heuristic":
        return detail(x, block)
    if policy == "random":
        return torch.stack([random_scores(image, shape[1:], seed) for image in x])
    if policy == "high":
        return torch.ones(shape, device=x.device)
    if policy == "low":
        return torch.zeros(shape, device=x.device)
    raise UsageError(f"there is no policy {policy!r}; use one of {', '.join(POLICIES)}")


def random_scores(image: Tensor, shape: tuple[int, int], seed: int) -> Tensor:
    """float32 [GH, GW], uniform, drawn from the image [3, H, W] itself and the seed."""
    thumbnail = F.interpolate(image[None].float(), size=(16, 16), mode="nearest").cpu().contiguous()
    key = zlib.crc32(thumbnail.numpy().tobytes(), seed & 0xFFFFFFFF)
    generator = torch.Generator().manual_seed(key)
    return torch.rand(shape, generator=generator).to(image.device)


def select(scores: Tensor, threshold: float = 0.5, budget: float = 1.0) -> Tensor:
    """Turn scores into a grid: blocks above the threshold, at most `budget` of each image, highest scores first.

    Equal scores are taken in row-major order, so the result never depends on chance.

    Args:
        scores: float [N, GH, GW].
        threshold: a block is high where its score is above it.
        budget: largest share of an image's blocks that may be high, 0..1.

    Returns:
        bool [N, GH, GW], on the scores' device.
    """
    above = scores > threshold
    n, rows, columns = scores.shape
    allowed = int(budget * rows * columns + 1e-6)
    if allowed >= rows * columns:
        return above
    order = torch.argsort(scores.reshape(n, -1), dim=1, descending=True, stable=True)
    within = torch.zeros(n, rows * columns, dtype=torch.bool, device=scores.device)
    within.scatter_(1, order[:, :allowed], True)
    return above & within.view_as(above)


def steady_bonus(previous: NDArray[np.bool_], threshold: float, usual: float, steady: float) -> NDArray[np.float32]:
    """What to add to the scores of a video's frame, so that blocks do not flip to and fro between frames.

    A block that was high in the last frame stays high until its score falls below (1 - steady) * threshold, and under a
    budget it gives way only to one that scores clearly higher: by more than steady * threshold. At threshold 0, where
    the budget alone decides, that is by more than steady * usual.

    Args:
        previous: bool [GH, GW], the last frame's grid.
        threshold: score above which a block is high.
        usual: the model's own threshold for the policy, which is the size of its scores.
        steady: 0..1.

    Returns:
        float32 [GH, GW], nowhere below 0.
    """
    # A share of threshold 0 would be nothing, and blocks of about the same score would change places in every frame.
    scale = usual if threshold == 0 else threshold
    return previous.astype(np.float32) * np.float32(steady * scale)


def border_bonus(share: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """What to add to the scores of a video's frame for the borders between classes in the last class map.

    Resolution decides most where classes meet, and from one frame to the next that hardly moves.

    Args:
        share: float32 [GH, GW], of `border_share`.
        scale: what a block gets whose share is one standard deviation above the mean of all blocks.

    Returns:
        float32 [GH, GW], its mean 0.
    """
    apart = share - share.mean()
    # Where hardly any block has a border there is nothing to tell them apart by.
    return apart * np.float32(scale / max(float(apart.std()), 0.02))


def border_share(
    labels: NDArray[np.uint8], shape: tuple[int, int], block_px: tuple[float, float]
) -> NDArray[np.float32]:
    """How much of each block lies at a border between two classes.

    Args:
        labels: uint8 [H, W], a frame's class map; one pixel in four each way is looked at.
        shape: rows and columns of the grid.
        block_px: height and width of a block in pixels of the frame.

    Returns:
        float32 [GH, GW], 0..1: the share of the block's pixels whose right or lower neighbour has another class; what
        of a block lies beyond the frame has none.
    """
    seen = labels[::EVERY, ::EVERY]
    at = np.zeros(seen.shape, dtype=np.uint8)
    np.not_equal(seen[:, :-1], seen[:, 1:], out=at[:, :-1].view(bool))
    at[:-1] |= seen[:-1] != seen[1:]
    counts = at
    for axis in (0, 1):
        first = np.ceil(np.arange(shape[axis]) * (block_px[axis] / EVERY)).astype(np.int64)
        counts = np.add.reduceat(counts, np.minimum(first, seen.shape[axis] - 1), axis=axis, dtype=np.int32)
    return (counts * (EVERY**2 / (block_px[0] * block_px[1]))).astype(np.float32)


def bonus_of(
    policy: str,
    shape: tuple[int, int],
    last: LastFrame | None,
    threshold: float,
    usual: float,
    steady: float,
    borders: float,
) -> NDArray[np.float32] | None:
    """What the frame before adds to the scores of a frame of the same video.

    Args:
        policy: the policy whose scores they are.
        shape: rows and columns of this frame's grid.
        last: the frame before, or None for the first.
        threshold: score above which a block is high.
        usual: the model's own threshold for the policy, which is the size of its scores.
        steady: see `steady_bonus`.
        borders: see `border_bonus`, whose scale is `borders * usual`.

    Returns:
        float32 [GH, GW], nowhere below 0 where the threshold is 0. None where nothing is added: for the first frame,
        after a change of resolution that gives the grid another size, and for policies that do not look at the picture.
    """
    if last is None or last.blocks.shape != shape or policy not in LOOKING:
        return None
    bonus = steady_bonus(last.blocks, threshold, usual, steady)
    if borders:
        bonus += border_bonus(border_share(last.labels, shape, last.block_px), borders * usual)
        if threshold == 0:  # the budget alone decides: no score may fall to 0
            bonus -= bonus.min()
    return bonus


def check_options(
    policy: str, threshold: float | None, budget: float, steady: float = 0.0, borders: float = 0.0
) -> None:
    """Check what a user chose.

    Raises:
        UsageError: with what is wrong and what was expected.
    """
    if policy not in POLICIES:
        raise UsageError(f"there is no policy {policy!r}; use one of {', '.join(POLICIES)}")
    shares = (("threshold", threshold), ("budget", budget), ("steady", steady), ("borders", borders))
    for name, value in shares:
        if value is None and name == "threshold":
            continue  # the model's own
        if not isinstance(value, Real) or not 0 <= value <= 1:
            raise UsageError(f"the {name} must be from 0 to 1, not {value!r}")
