"""A model's weights as the CUDA engine wants them: batch norms folded, half precision, channels last."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segstream.models.policy_net import PolicyNet
from segstream.models.resnet import BasicBlock, Bottleneck, ResNet
from segstream.models.swiftnet import BNReluConv, SwiftNet

FIRST_DEEP = 2  # level of the encoder, at stride 16, from which on a level has few pixels
COLUMNS = 32  # classes are padded to half of this or a multiple, as kernels/labels.cu computes them


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution with its batch norm folded in: weight half [Cout, Cin, k, k] channels last, bias half [Cout].

    `matrix`, half [9 * Cin + R, Cout], is there for 3x3 layers of few pixels or stride 2, which run on tiles as matrix
    products (kernels/taps.cu). It has R rows for what is added to the layer's result: a 1x1 layer's weights, or the
    identity. `tiled`, half [72, 64, 8], is there for 3x3 layers from 64 to 64 channels (kernels/tile_conv.cu).
    """

    weight: Tensor
    bias: Tensor
    stride: int
    padding: int
    matrix: Tensor | None = None
    tiled: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Norm:
    """A batch norm that stands before a ReLU: float [C] each."""

    scale: Tensor
    shift: Tensor


@dataclass(frozen=True, slots=True)
class Block:
    """A residual block: its convolutions in order, and the shortcut's matrix half [Cin, Cout] with its stride.

    The shortcut's bias is in the last convolution's. `high_only`: low tiles come out as they are; such a block has
    neither a shortcut nor a stride.
    """

    convs: tuple[Conv, ...]
    shortcut: Tensor | None
    shortcut_stride: int
    high_only: bool = False


@dataclass(frozen=True, slots=True)
class Upsample:
    """A step of the decoder: norm and matrix [Cin, Cout] of the skip, norm and 3x3 layer of the blend."""

    skip_norm: Norm
    skip: Tensor
    norm: Norm
    blend: Conv


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Spatial pyramid pooling; see kernels/spp.cu."""

    first_norm: Norm
    first: Tensor  # half [Cin, width]
    level_norm: Norm  # float [3, width]
    level: Tensor  # float [3, width, level width]
    fuse_norm: Norm  # float [padded width]
    fuse: Tensor  # half [padded width, width]


@dataclass(frozen=True, slots=True)
class Weights:
    """Everything the network needs on the device."""

    stem: Tensor  # half [7 * 32, 64], see kernels/stem.cu
    stem_bias: Tensor  # float [64]
    levels: tuple[tuple[Block, ...], ...]
    pyramid: Pyramid
    upsample: tuple[Upsample, ...]
    class_norm: Norm
    classes: Tensor  # half [width, padded classes]
    class_bias: Tensor  # float [padded classes]
    n_classes: int
    subpixel: Tensor | None  # half [width, 4 * padded classes], column (2 * dy + dx) * padded classes + class
    subpixel_bias: Tensor | None  # float [4 * padded classes]


def supports(network: SwiftNet) -> bool:
    """Whether the engine has kernels for this network: a ResNet encoder."""
    return isinstance(network.encoder, ResNet)


def norm_of(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm in evaluation, float32."""
    assert bn.running_mean is not None and bn.running_var is not None
    scale = bn.weight.detach().float() * torch.rsqrt(bn.running_var.float() + bn.eps)
    return scale, bn.bias.detach().float() - bn.running_mean.float() * scale


def fold(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution followed by a batch norm, float32."""
    scale, shift = norm_of(bn)
    return conv.weight.detach().float() * scale[:, None, None, None], shift


class Packer:
    """Moves weights to the device in the types the kernels take."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def half(self, x: Tensor) -> Tensor:
        return x.to(self.device, torch.float16)

    def float(self, x: Tensor) -> Tensor:
        return x.to(self.device, torch.float32).contiguous()

    def conv(self, weight: Tensor, bias: Tensor | None, like: nn.Conv2d) -> Conv:
        bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
        packed = self.half(weight).to(memory_format=torch.channels_last)
        tiled = None
        if tuple(weight.shape) == (64, 64, 3, 3) and like.stride[0] == 1:
            tiled = packed.permute(2, 3, 1, 0).reshape(9, 8, 8, 64).transpose(2, 3).reshape(72, 64, 8).contiguous()
        return Conv(packed, self.half(bias).contiguous(), int(like.stride[0]), int(like.padding[0]), tiled=tiled)

    def matrix(self, weight: Tensor) -> Tensor:
        """A 1x1 convolution's weight [Cout, Cin, 1, 1] as half [Cin, Cout]."""
        return self.half(weight.detach()[:, :, 0, 0].t()).contiguous()

    def norm(self, bn: nn.BatchNorm2d, padded: int | None = None) -> Norm:
        scale, shift = norm_of(bn)
        extra = (padded or scale.numel()) - scale.numel()
        return Norm(self.float(F.pad(scale, (0, extra))), self.float(F.pad(shift, (0, extra))))

    def as_matrix(self, conv: Conv, added: Tensor | None = None) -> Conv:
        """The layer with its `matrix`; `added`: half [R, Cout], rows for what is added to its result."""
        columns = conv.weight.permute(0, 2, 3, 1).flatten(1)  # [Cout, 9 * Cin]
        if added is not None:
            columns = torch.cat((columns, added.t()), 1)
        return replace(conv, matrix=columns.contiguous().t())

    def block(self, block: BasicBlock | Bottleneck, deep: bool, high_only: bool) -> Block:
        """A residual block; `deep`: of a level that has few pixels, or else only its stride-2 layer may be a matrix."""
        pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
        if isinstance(block, Bottleneck):
            pairs.append((block.conv3, block.bn3))
        folded = [fold(conv, bn) for conv, bn in pairs]
        shortcut, stride = None, 1
        if block.downsample is not None:
            conv, bn = block.downsample[0], block.downsample[1]
            assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
            weight, bias = fold(conv, bn)
            shortcut, stride = self.matrix(weight), int(conv.stride[0])
            folded[-1] = (folded[-1][0], folded[-1][1] + bias)
        convs = [self.conv(weight, bias, conv) for (weight, bias), (conv, _) in zip(folded, pairs, strict=True)]
        for i, packed in enumerate(convs):
            if packed.padding and (deep or packed.stride == 2):
                identity = torch.eye(packed.weight.shape[0], dtype=torch.float16, device=self.device)
                added = identity if shortcut is None else shortcut
                convs[i] = self.as_matrix(packed, added if i + 1 == len(convs) else None)
        return Block(tuple(convs), shortcut, stride, high_only)

    def subpixel(self, conv: nn.Conv2d | None, extra: int) -> tuple[Tensor | None, Tensor | None]:
        """The last layer of low blocks, if there is one: half [width, 4 * padded classes], float [4 * padded classes].

        The classes, with `extra` more as padding, lie together for each of the 2x2 pixels that a pixel becomes.
        """
        if conv is None:
            return None, None
        assert conv.bias is not None
        weight, bias = self.matrix(conv.weight), conv.bias.detach()
        weight, bias = (
            F.pad(x.unflatten(-1, (-1, 4)).transpose(-1, -2), (0, extra)).flatten(-2) for x in (weight, bias)
        )
        return weight.contiguous(), self.float(bias)

    def stem(self, encoder: ResNet) -> tuple[Tensor, Tensor]:
        weight, bias = fold(encoder.conv1, encoder.bn1)  # [64, 3, 7, 7]
        rows = F.pad(weight.permute(2, 3, 1, 0), (0, 0, 0, 1, 0, 1))  # [7, 8, 4, 64]
        return self.half(rows.reshape(7 * 32, -1)).contiguous(), self.float(bias)

    def pyramid(self, spp: nn.Module) -> Pyramid:
        first, levels, fuse = spp.spp_bn, list(spp.spp), spp.spp_fuse  # type: ignore[arg-type]
        norms = [norm_of(level.norm) for level in levels]
        width = fuse.conv.in_channels  # type: ignore[union-attr]
        padded = -(-int(width) // 8) * 8  # type: ignore[arg-type]
        return Pyramid(
            self.norm(first.norm),  # type: ignore[union-attr, arg-type]
            self.matrix(first.conv.weight),  # type: ignore[union-attr, arg-type]
            Norm(self.float(torch.stack([n[0] for n in norms])), self.float(torch.stack([n[1] for n in norms]))),
            self.float(torch.stack([level.conv.weight.detach()[:, :, 0, 0].t() for level in levels])),
            self.norm(fuse.norm, padded),  # type: ignore[union-attr, arg-type]
            F.pad(self.matrix(fuse.conv.weight), (0, 0, 0, padded - int(width))).contiguous(),  # type: ignore[union-attr, arg-type]
        )

    def upsample(self, bottleneck: BNReluConv, blend: BNReluConv, deep: bool) -> Upsample:
        conv = self.conv(blend.conv.weight.detach().float(), None, blend.conv)
        return Upsample(
            self.norm(bottleneck.norm),
            self.matrix(bottleneck.conv.weight),
            self.norm(blend.norm),
            self.as_matrix(conv) if deep else conv,
        )


def pack(network: SwiftNet, device: torch.device) -> Weights:
    """The weights of a network with a ResNet encoder."""
    packer, encoder = Packer(device), network.encoder
    assert isinstance(encoder, ResNet)
    stem, stem_bias = packer.stem(encoder)
    levels = (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)
    logits, n_classes = network.logits, network.logits.conv.out_channels
    extra = COLUMNS // 2 - n_classes if n_classes <= COLUMNS // 2 else -n_classes % COLUMNS
    assert logits.conv.bias is not None
    subpixel, subpixel_bias = packer.subpixel(network.subpixel, extra)
    return Weights(
        stem=stem,
        stem_bias=stem_bias,
        levels=tuple(
            tuple(
                packer.block(block, i >= FIRST_DEEP, j > 0 and i + 1 in encoder.shallow)  # type: ignore[arg-type]
                for j, block in enumerate(level)  # type: ignore[arg-type]
            )
            for i, level in enumerate(levels)
        ),
        pyramid=packer.pyramid(network.spp),
        upsample=tuple(
            packer.upsample(step.bottleneck, step.blend_conv, i == 0)  # type: ignore[arg-type]
            for i, step in enumerate(network.upsample)
        ),
        class_norm=packer.norm(logits.norm),
        classes=F.pad(packer.matrix(logits.conv.weight), (0, extra)).contiguous(),
        class_bias=packer.float(F.pad(logits.conv.bias.detach().float(), (0, extra))),
        n_classes=n_classes,
        subpixel=subpixel,
        subpixel_bias=subpixel_bias,
    )


def pack_policy(policy: PolicyNet, device: torch.device) -> tuple[Conv, ...]:
    """The convolutions of the policy network; the first takes 8 channels, of which three are not zero."""
    packer, layers = Packer(device), list(policy.layers)
    convs = []
    for i, layer in enumerate(layers):
        if not isinstance(layer, nn.Conv2d):
            continue
        if i + 1 < len(layers):
            bn = layers[i + 1]
            assert isinstance(bn, nn.BatchNorm2d)
            weight, bias = fold(layer, bn)
        else:
            assert layer.bias is not None
            weight, bias = layer.weight.detach().float(), layer.bias.detach().float()
        if i == 0:
            weight = F.pad(weight, (0, 0, 0, 0, 0, 5))
        convs.append(packer.conv(weight, bias, layer))
    return tuple(convs)
