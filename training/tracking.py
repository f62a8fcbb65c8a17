"""TensorBoard: scalars of a training, and pictures of the grids its policy chooses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from segstream.training.setup import Data

PICTURES = 4


class Tracker:
    """Writes to `folder`, or nowhere if TensorBoard is not installed or `enabled` is false."""

    def __init__(self, folder: Path, enabled: bool = True) -> None:
        self.writer: Any = None
        if enabled:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return
            self.writer = SummaryWriter(str(folder))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def evaluation(self, step: int, values: dict[str, float], data: Data, grids: Tensor | None, block: int) -> None:
        """Record an evaluation; `grids` bool [M, GH, GW], of blocks of that side, are drawn over some images of val."""
        self.scalars(step, values)
        if self.writer is not None and grids is not None:
            at = torch.linspace(0, len(grids) - 1, PICTURES).long()
            val = data.val
            pictures = torch.stack([with_grid(val.pictures(i, 1)[0], grids[i], block) for i in at.tolist()])
            self.writer.add_images("high blocks on val", pictures, step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def with_grid(image: Tensor, high: Tensor, block: int) -> Tensor:
    """An image [3, H, W], 0..255, as uint8 with its low blocks (grid bool [GH, GW], `block` pixels a side) darkened."""
    height, width = image.shape[-2:]
    light = high.float().repeat_interleave(block, 0).repeat_interleave(block, 1)[:height, :width]
    return (image.float() * (0.4 + 0.6 * light)).to(torch.uint8).cpu()
