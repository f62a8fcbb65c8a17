"""Counting the multiply-accumulates that really run, in units of 1e9 (GMAC).

Convolutions are counted, as the field does; everything but the pyramid's small means is proportional to the number of
tiles, so one run of one tile under torch's own counter tells the cost of any grid.
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
        tile: MACs of one tile, from the stem to the logits.
        canvas_pixel: MACs for each stride-32 pixel of the dense canvas (only of networks with local interpolation,
            whose whole pyramid runs dense).
        level_pixel: MACs for each mean of the pyramid's levels.
        policy_block: MACs of the policy network for one block.
        block: side of a block in pixels.
    """

    tile: int
    canvas_pixel: int
    level_pixel: int
    policy_block: int
    block: int

    def gmacs(self, rows: int, columns: int, n_high: int, policy: str, images: int = 1) -> float:
        """GMAC of a grid of rows x columns blocks for `images` images, `n_high` blocks of them high.

        The policy network counts where the policy is "learned".
        """
        blocks = rows * columns * images
        tiles = 4 * n_high + (blocks - n_high)
        macs = self.tile * tiles + self.canvas_pixel * blocks * (self.block // 32) ** 2
        macs += self.level_pixel * images * sum(r * max(1, round(r * columns / rows)) for r in POOL_GRIDS)
        if policy == "learned":
            macs += self.policy_block * blocks
        return macs / 1e9

    def dense_gmacs(self, rows: int, columns: int) -> float:
        """GMAC of the dense network on the same network input."""
        return self.gmacs(rows, columns, rows * columns, "high")


def measure(model: Model, block: int) -> Costs:
    """Find what a model costs by running one low block under torch's counter."""
    network = model.network
    x = torch.zeros(1, 3, block, block, device=next(network.parameters()).device)
    grid = Grid(torch.zeros(1, 1, 1, dtype=torch.bool, device=x.device), block)
    total = count(network.tile_logits, x, grid)
    level_pixel = cast(BNReluConv, network.spp.spp[0]).conv.weight.numel()
    tile = total - level_pixel * sum(r * r for r in POOL_GRIDS)
    canvas_pixel = 0
    if not network.seamless:
        canvas_pixel = pyramid_pixel(network)
        tile -= canvas_pixel * (block // 32) ** 2
    policy_block = 0
    if model.policy_net is not None:
        policy_block = count(model.policy_net, x, block)
    return Costs(tile, canvas_pixel, level_pixel, policy_block, block)


def pyramid_pixel(network: SwiftNet) -> int:
    """MACs of the pyramid's first and last convolution for one pixel."""
    return network.spp.spp_bn.conv.weight.numel() + network.spp.spp_fuse.conv.weight.numel()


def count(function: Callable[..., Any], *arguments: object) -> int:
    """MACs of one call, by torch's flop counter (which counts a MAC as two)."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        function(*arguments)
    return counter.get_total_flops() // 2
