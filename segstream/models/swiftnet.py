"""SwiftNet (Orsic et al., CVPR 2019), dense or in blocks (SegBlocks) from one definition."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segstream.blocks import Grid, combine, sample
from segstream.blocks.grid import BLOCK_SIDES
from segstream.blocks.layers import convolve, enlarge_to, from_canvas, to_canvas
from segstream.models.efficientnet import EfficientNetLite1
from segstream.models.resnet import ResNet, resnet18, resnet50

POOL_GRIDS = (8, 4, 2)
ENCODERS: dict[str, tuple[Callable[[], ResNet | EfficientNetLite1], int]] = {  # encoder and width of the decoder
    "resnet18": (resnet18, 128),
    "resnet50": (resnet50, 128),
    "efficientnet-lite1": (EfficientNetLite1, 48),
}


class BNReluConv(nn.Module):
    """Batch norm, ReLU, convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

    def forward(self, x: Tensor, grid: Grid | None = None) -> Tensor:  # [N, C, H, W] or [T, C, q, q]
        return convolve(self.conv, F.relu(self.norm(x)), grid)


class PyramidPooling(nn.Module):
    """Spatial pyramid pooling at stride 32: means over grids of 8, 4 and 2 rows, as wide as the picture's aspect."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        level = width // len(POOL_GRIDS)
        self.spp_bn = BNReluConv(inputs, width, 1)
        self.spp = nn.ModuleList([BNReluConv(width, level, 1) for _ in POOL_GRIDS])
        self.spp_fuse = BNReluConv(width + level * len(POOL_GRIDS), width, 1)

    def forward(self, x: Tensor, grid: Grid | None = None, seamless: bool = True) -> Tensor:
        """[N, C, H, W] -> [N, width, H, W], or tiles [T, C, q, q] -> [T, width, q, q]."""
        if grid is None:
            x = self.spp_bn(x)
            return self.spp_fuse(torch.cat([x, self.pooled(x)], 1))
        if not seamless:  # as the authors do: combine everything, run dense, sample again
            return sample(self(combine(x, grid, seamless=False)), grid)
        # Only what is pooled needs the dense canvas.
        x = self.spp_bn(x)
        pooled = from_canvas(self.pooled(to_canvas(x, grid)), grid)
        return self.spp_fuse(torch.cat([x, pooled], 1))

    def pooled(self, x: Tensor) -> Tensor:
        """The pooled levels of [N, width, H, W], enlarged again: [N, 3 * (width // 3), H, W]."""
        height, width = x.shape[-2:]
        levels = []
        for rows, level in zip(POOL_GRIDS, self.spp, strict=True):
            columns = max(1, round(rows * width / height))
            means = level(F.adaptive_avg_pool2d(x, (rows, columns)))
            levels.append(F.interpolate(means, size=(height, width), mode="bilinear", align_corners=False))
        return torch.cat(levels, 1)


class UpsampleBlend(nn.Module):
    """One step of the decoder: enlarge, add the encoder's feature, blend."""

    def __init__(self, skip_channels: int, width: int) -> None:
        super().__init__()
        self.bottleneck = BNReluConv(skip_channels, width, 1)
        self.blend_conv = BNReluConv(width, width, 3)

    def forward(self, x: Tensor, skip: Tensor, grid: Grid | None, seamless: bool) -> Tensor:
        skip = self.bottleneck(skip)
        return self.blend_conv(skip + enlarge_to(x, skip, grid, seamless), grid)


class SwiftNet(nn.Module):
    """The segmentation network.

    Args:
        encoder: "resnet18", "resnet50" or "efficientnet-lite1".
        classes: number of classes.
        seamless: enlarge features across block borders, so that all-high equals the dense network; False enlarges each
            block by itself, for the authors' checkpoints.
    """

    def __init__(self, encoder: str, classes: int, seamless: bool = True) -> None:
        super().__init__()
        if encoder not in ENCODERS:
            raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}, not {encoder!r}")
        make_encoder, width = ENCODERS[encoder]
        self.seamless = seamless
        self.encoder = make_encoder()
        *skips, deepest = self.encoder.channels
        self.spp = PyramidPooling(deepest, width)
        self.upsample = nn.ModuleList([UpsampleBlend(channels, width) for channels in reversed(skips)])
        self.logits = BNReluConv(width, classes, 1, bias=True)

    def forward(self, x: Tensor, grid: Grid | None = None) -> Tensor:
        """Logits of an image.

        Args:
            x: float [N, 3, H, W], normalised. With a grid, H and W must be its rows and columns times its block side.
            grid: which blocks run at high resolution; None runs the dense network.

        Returns:
            [N, classes, ceil(H/4), ceil(W/4)].
        """
        if grid is None:
            return self.tile_logits(x)
        check_size(x, grid)
        return combine(self.tile_logits(x, grid), grid, self.seamless)

    def tile_logits(self, x: Tensor, grid: Grid | None = None) -> Tensor:
        """Logits before BlockCombine: tiles [T, classes, q, q] with q = block / 8, or dense without a grid."""
        *skips, x = self.encoder(x, grid)
        x = self.spp(x, grid, self.seamless)
        for blend, skip in zip(self.upsample, reversed(skips), strict=True):
            x = blend(x, skip, grid, self.seamless)
        return self.logits(x)


def check_size(x: Tensor, grid: Grid) -> None:
    n, rows, columns = grid.shape
    if grid.block not in BLOCK_SIDES:
        sides = ", ".join(map(str, BLOCK_SIDES))
        raise ValueError(f"the block side must be one of {sides} pixels for this network, not {grid.block}")
    expected = (n, 3, rows * grid.block, columns * grid.block)
    if tuple(x.shape) != expected:
        raise ValueError(f"the image must be {list(expected)} for this grid, not {list(x.shape)}")
