"""ResNet encoders (He et al., CVPR 2016), dense or on tiles. Parameter names are torchvision's."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segstream.blocks import Grid, sample
from segstream.blocks.layers import convolve, convolve_high, convolve_padded, max_pool


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(outputs)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, width, 3, stride)
        self.conv2, self.bn2 = conv_bn(width, width, 3)
        self.downsample = shortcut(inputs, width, stride)

    def forward(self, x: Tensor, grid: Grid | None = None) -> Tensor:  # [N, C, H, W] or [T, C, q, q]
        out = F.relu(self.bn1(convolve(self.conv1, x, grid)))
        out = self.bn2(convolve(self.conv2, out, grid))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))

    def high_only(self, x: Tensor, grid: Grid) -> Tensor:  # [T, C, q, q], of which low tiles come out as they are
        if not grid.n_high:
            return x
        first_low = 4 * grid.n_high
        out = F.relu(self.bn1(convolve_high(self.conv1, x, grid)))
        out = self.bn2(convolve_high(self.conv2, out, grid))
        return torch.cat([F.relu(out + x[:first_low]), x[first_low:]])


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the 3x3 strides, as in torchvision."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, width, 1)
        self.conv2, self.bn2 = conv_bn(width, width, 3, stride)
        self.conv3, self.bn3 = conv_bn(width, width * 4, 1)
        self.downsample = shortcut(inputs, width * 4, stride)

    def forward(self, x: Tensor, grid: Grid | None = None) -> Tensor:  # [N, C, H, W] or [T, C, q, q]
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(convolve(self.conv2, out, grid)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))

    def high_only(self, x: Tensor, grid: Grid) -> Tensor:  # [T, C, q, q], of which low tiles come out as they are
        if not grid.n_high:
            return x
        first_low = 4 * grid.n_high
        out = F.relu(self.bn1(self.conv1(x[:first_low])))
        out = F.relu(self.bn2(convolve_high(self.conv2, out, grid)))
        out = self.bn3(self.conv3(out))
        return torch.cat([F.relu(out + x[:first_low]), x[first_low:]])


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """Encoder that yields features at strides 4, 8, 16 and 32.

    Args:
        block: the kind of residual block.
        depths: how many of them each stage has.

    Attributes:
        channels: number of channels of the four features.
        shallow: stages, of 1 to 4, of which low blocks pass the first residual block alone, as in a network of fewer
            layers; high ones pass them all, with zeros in the place of what their low neighbours would have held.
    """

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.shallow: tuple[int, ...] = ()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        self.channels: list[int] = []
        for level, depth in enumerate(depths):
            width = 64 * 2**level
            blocks = []
            for i in range(depth):
                blocks.append(block(inputs, width, 2 if level and i == 0 else 1))
                inputs = width * block.expansion
            self.add_module(f"layer{level + 1}", nn.ModuleList(blocks))
            self.channels.append(inputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, grid: Grid | None = None) -> list[Tensor]:
        """Features of an image [N, 3, H, W]: dense [N, C, H/s, W/s], or with a grid as tiles [T, C, q, q]."""
        if grid is None:
            x = self.conv1(x)
        else:
            x = convolve_padded(self.conv1, sample(x, grid, halo=3))
        x = max_pool(F.relu(self.bn1(x)), 3, 2, grid)
        features = []
        for level in range(1, 5):
            first, *others = cast(list[BasicBlock | Bottleneck], getattr(self, f"layer{level}"))
            x = first(x, grid)
            for block in others:
                x = block(x, grid) if grid is None or level not in self.shallow else block.high_only(x, grid)
            features.append(x)
        return features


def resnet18() -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2))


def resnet50() -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3))
