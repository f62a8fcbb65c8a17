"""EfficientNet-Lite1 encoder (Tan and Le, ICML 2019; the Lite variants have ReLU6 and no squeeze-excitation)."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from segstream.blocks import Grid, sample
from segstream.blocks.layers import convolve, convolve_padded

# Per stage of Lite1: kernel, stride, expansion, output channels, number of blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 3),
    (5, 2, 6, 40, 3),
    (3, 2, 6, 80, 4),
    (5, 1, 6, 112, 4),
    (5, 2, 6, 192, 5),
    (3, 1, 6, 320, 1),
)
FEATURE_STAGES = (1, 2, 4, 6)  # the last stages at strides 4, 8, 16 and 32
BN_EPS = 1e-3  # as in the weights that Google published, which the authors start from


class MBConv(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise convolution, 1x1 projection."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, width, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(width, eps=BN_EPS)
        self._depthwise_conv = nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width, bias=False)
        self._bn1 = nn.BatchNorm2d(width, eps=BN_EPS)
        self._project_conv = nn.Conv2d(width, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=BN_EPS)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor, grid: Grid | None = None) -> Tensor:  # [N, C, H, W] or [T, C, q, q]
        out = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        out = F.relu6(self._bn1(convolve(self._depthwise_conv, out, grid)))
        out = self._bn2(self._project_conv(out))
        return out + x if self.adds else out


class EfficientNetLite1(nn.Module):
    """Encoder that yields features at strides 4, 8, 16 and 32; the classifier's head is left out.

    Attributes:
        channels: number of channels of the four features.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32, eps=BN_EPS), nn.ReLU6())
        stages = []
        inputs = 32
        for kernel, stride, expansion, outputs, depth in STAGES:
            blocks = []
            for i in range(depth):
                blocks.append(MBConv(inputs, outputs, kernel, stride if i == 0 else 1, expansion))
                inputs = outputs
            stages.append(nn.ModuleList(blocks))
        self.blocks = nn.ModuleList(stages)
        self.channels = [STAGES[i][3] for i in FEATURE_STAGES]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor, grid: Grid | None = None) -> list[Tensor]:
        """Features of an image [N, 3, H, W]: dense [N, C, H/s, W/s], or with a grid as tiles [T, C, q, q]."""
        conv, bn, activation = self.stem
        x = conv(x) if grid is None else convolve_padded(cast(nn.Conv2d, conv), sample(x, grid, halo=1))
        x = activation(bn(x))
        features = []
        for index, stage in enumerate(self.blocks):
            for block in cast(nn.ModuleList, stage):
                x = block(x, grid)
            if index in FEATURE_STAGES:
                features.append(x)
        return features
