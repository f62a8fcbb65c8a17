"""The paper's policy network: one look at the small image, one logit per block."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PolicyNet(nn.Module):
    """Looks at the image at 32 pixels a block and says how much each block gains from high resolution.

    Source: SegBlocks (TPAMI 2023), section 3.2. About 0.22 M parameters.

    Args:
        width: channels of the hidden layers.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 7, 4, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 5, 2, 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 5, 2, 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 1, 5, 2, 2),
        )

    def forward(self, x: Tensor, block: int) -> Tensor:
        """Logits of the blocks.

        Args:
            x: float [N, 3, GH*block, GW*block], normalised as for the segmentation network.
            block: side of a block in pixels.

        Returns:
            [N, GH, GW]; a block is worth high resolution where its logit is above 0.
        """
        rows, columns = x.shape[-2] // block, x.shape[-1] // block
        small = F.interpolate(x, size=(rows * 32, columns * 32), mode="nearest")
        return self.layers(small).squeeze(1)
