"""SwiftNet (Orsic et al., CVPR 2019), dense or in blocks (SegBlocks) from one definition."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segstream.blocks import Grid, combine, sample
from segstream.blocks.grid import BLOCK_SIDES
from segstream.blocks.layers import convolve, enlarge_to, from_canvas, to_canvas
from segstream.blocks.tiles import join_tiles, place_blocks
from segstream.models.efficientnet import EfficientNetLite1
from segstream.models.resnet import ResNet, resnet18, resnet50

POOL_GRIDS = (8, 4, 2)
ENCODERS: dict[str, tuple[Callable[[], ResNet | EfficientNetLite1], int]] = {  # encoder and width of the decoder
    "resnet18": (resnet18, 128),
    "resnet50": (resnet50, 128),
    "efficientnet-lite1": (EfficientNetLite1, 48),
}
SHALLOW_STAGES = {"resnet18": (1, 2, 3, 4), "resnet50": (1, 2, 3, 4)}  # stages with residual blocks to pass by


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
        subpixel: give low blocks a last layer of their own, of four logits a pixel and class, which make 2x2 pixels
            (Shi et al., CVPR 2016): so the class map of a low block is as fine as that of a high one.
        shallow: stages of a ResNet of which low blocks pass the first residual block alone, see `ResNet`. Then all low
            is no longer the dense network on the image of half the size; all high is the dense network still.

    Raises:
        ValueError: if there is no such encoder, or no such stages to make shallow.
    """

    def __init__(
        self,
        encoder: str,
        classes: int,
        seamless: bool = True,
        subpixel: bool = False,
        shallow: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        if encoder not in ENCODERS:
            raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}, not {encoder!r}")
        make_encoder, width = ENCODERS[encoder]
        self.seamless = seamless
        self.encoder_name = encoder
        self.encoder = make_encoder()
        self.set_shallow(shallow)
        *skips, deepest = self.encoder.channels
        self.spp = PyramidPooling(deepest, width)
        self.upsample = nn.ModuleList([UpsampleBlend(channels, width) for channels in reversed(skips)])
        self.logits = BNReluConv(width, classes, 1, bias=True)
        self.subpixel = nn.Conv2d(width, 4 * classes, 1) if subpixel else None

    def set_shallow(self, stages: tuple[int, ...]) -> None:
        """Change which stages are shallow; the weights are the same whichever are.

        Raises:
            ValueError: if the encoder has no such stages.
        """
        possible = SHALLOW_STAGES.get(self.encoder_name, ())
        if not set(stages) <= set(possible):
            raise ValueError(f"shallow stages of {self.encoder_name} must be of {list(possible)}, not {list(stages)}")
        self.shallow = tuple(sorted(set(stages)))
        if isinstance(self.encoder, ResNet):
            self.encoder.shallow = self.shallow

    def forward(self, x: Tensor, grid: Grid | None = None) -> Tensor:
        """Logits of an image.

        Args:
            x: float [N, 3, H, W], normalised. With a grid, H and W must be its rows and columns times its block side.
            grid: which blocks run at high resolution; None runs the dense network.

        Returns:
            [N, classes, ceil(H/4), ceil(W/4)].
        """
        if grid is None:
            return self.logits(self.features(x))
        check_size(x, grid)
        features = self.features(x, grid)
        if self.subpixel is None:
            return combine(self.logits(features), grid, self.seamless)
        return combine_subpixel(self.logits, self.subpixel, features, grid)

    def features(self, x: Tensor, grid: Grid | None = None) -> Tensor:
        """What the last layer takes: tiles [T, width, q, q] with q = block / 8, or dense without a grid."""
        *skips, x = self.encoder(x, grid)
        x = self.spp(x, grid, self.seamless)
        for blend, skip in zip(self.upsample, reversed(skips), strict=True):
            x = blend(x, skip, grid, self.seamless)
        return x


def combine_subpixel(logits: BNReluConv, subpixel: nn.Conv2d, x: Tensor, grid: Grid) -> Tensor:
    """The last layer and BlockCombine where each pixel of a low block makes 2x2 pixels.

    Args:
        logits: the last layer of high blocks, whose norm is that of low ones too.
        subpixel: the last layer of low blocks.
        x: tiles [T, width, q, q].
        grid: which blocks are high.

    Returns:
        [N, classes, GH*2q, GW*2q].
    """
    x = F.relu(logits.norm(x))
    first_low = 4 * grid.n_high
    high = join_tiles(logits.conv(x[:first_low]))
    low = F.pixel_shuffle(subpixel(x[first_low:]), 2)
    return place_blocks(torch.cat([high, low]), grid, 2 * x.shape[-1])


def check_size(x: Tensor, grid: Grid) -> None:
    n, rows, columns = grid.shape
    if grid.block not in BLOCK_SIDES:
        sides = ", ".join(map(str, BLOCK_SIDES))
        raise ValueError(f"the block side must be one of {sides} pixels for this network, not {grid.block}")
    expected = (n, 3, rows * grid.block, columns * grid.block)
    if tuple(x.shape) != expected:
        raise ValueError(f"the image must be {list(expected)} for this grid, not {list(x.shape)}")
