"""How much detail each block loses at a lower resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def detail(x: Tensor, block: int) -> Tensor:
    """Mean of |x - enlarge(shrink(x))| over each block, shrinking by 4, as a score in 0..1.

    The mean is that of normalised values; 1 - exp(-mean) brings it below 1.

    Args:
        x: float [N, 3, GH*block, GW*block], normalised.
        block: side of a block in pixels.

    Returns:
        float32 [N, GH, GW].
    """
    n, channels, height, width = x.shape
    small = F.avg_pool2d(x, 4).contiguous()  # what is enlarged from channels last takes twice as long
    lost = F.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False).sub_(x).abs_()
    lost = lost.view(n, channels, height // block, block, width // block, block).mean((1, 3, 5))
    return 1 - torch.exp(-lost.float())


def log_detail(x: Tensor, block: int) -> Tensor:
    """Logarithm of `detail`, float32 [N, GH, GW], of blocks without any that of a ten-thousandth."""
    return detail(x, block).clamp(min=1e-4).log()
