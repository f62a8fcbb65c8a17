"""Counting the multiply-accumulates that the blocks of a grid need, in units of 1e9 (GMAC).

Convolutions are counted, as the field does; everything but the pyramid's small means is proportional to the numbers of
high and low tiles, so one run of each under torch's own counter tells the cost of any grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from segstream.blocks import Grid
from segstream.models.files import Model
from segstream.models.swiftnet import POOL_GRIDS, BNReluConv, SwiftNet


@dataclass(frozen=True, slots=True)
class Costs:
    """What a model costs at a block side.

    Attributes:
        high_tile, low_tile: MACs of one tile of a high and of a low block, from the stem to the logits.
        canvas_pixel: MACs for each stride-32 pixel of the dense canvas (only of networks with local interpolation,
            whose whole pyramid runs dense).
        level_pixel: MACs for each mean of the pyramid's levels.
        policy_block: MACs of the policy network for one block.
        block: side of a block in pixels.
    """

    high_tile: int
    low_tile: int
    canvas_pixel: int
    level_pixel: int
    policy_block: int
    block: int

    def gmacs(self, rows: int, columns: int, n_high: int, policy: str, images: int = 1) -> float:
        """GMAC of a grid of rows x columns blocks for `images` images, `n_high` blocks of them high.

        The policy network counts where the policy is "learned".
        """
        blocks = rows * columns * images
        macs = self.high_tile * 4 * n_high + self.low_tile * (blocks - n_high)
        macs += self.canvas_pixel * blocks * (self.block // 32) ** 2
        macs += self.level_pixel * images * sum(r * max(1, round(r * columns / rows)) for r in POOL_GRIDS)
        if policy == "learned":
            macs += self.policy_block * blocks
        return macs / 1e9

    def dense_gmacs(self, rows: int, columns: int) -> float:
        """GMAC of the dense network on the same network input."""
        return self.gmacs(rows, columns, rows * columns, "high")


def measure(model: Model, block: int) -> Costs:
    """Find what a model costs by running one high and one low block under torch's counter."""
    network = model.network
    x = torch.zeros(1, 3, block, block, device=next(network.parameters()).device)
    level_pixel = cast(BNReluConv, network.spp.spp[0]).conv.weight.numel()
    canvas_pixel = 0 if network.seamless else pyramid_pixel(network)
    once = level_pixel * sum(r * r for r in POOL_GRIDS) + canvas_pixel * (block // 32) ** 2
    of_blocks = []
    for high in (True, False):
        grid = Grid(torch.full((1, 1, 1), high, device=x.device), block)
        of_blocks.append(count(network, x, grid) - once)
    policy_block = 0
    if model.policy_net is not None:
        policy_block = count(model.policy_net, x, block)
    return Costs(of_blocks[0] // 4, of_blocks[1], canvas_pixel, level_pixel, policy_block, block)


def pyramid_pixel(network: SwiftNet) -> int:
    """MACs of the pyramid's first and last convolution for one pixel."""
    return network.spp.spp_bn.conv.weight.numel() + network.spp.spp_fuse.conv.weight.numel()


def count(function: Callable[..., Any], *arguments: object) -> int:
    """MACs of one call, by torch's flop counter (which counts a MAC as two)."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        function(*arguments)
    return counter.get_total_flops() // 2
