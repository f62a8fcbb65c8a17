"""SwiftNet with a ResNet-18 encoder for the CPU: batch norm folded, features as rows, BlockPad inside the gathers."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segstream.engines.cpu_ops import Conv3x3, Pointwise, StridedConv, Workspace
from segstream.engines.cpu_stem import Stem
from segstream.engines.cpu_tables import Blocks, Level, make_level, make_pool_border, patch_order, patch_side
from segstream.models.resnet import BasicBlock, ResNet
from segstream.models.swiftnet import POOL_GRIDS, BNReluConv, SwiftNet, UpsampleBlend


def norm_affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A trained batch norm as x * scale + shift; float64 [C] each."""
    scale = norm.weight.double() / (cast(Tensor, norm.running_var).double() + norm.eps).sqrt()
    return scale, norm.bias.double() - cast(Tensor, norm.running_mean).double() * scale


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch norm behind it."""
    return scaled(conv, *norm_affine(norm))


def scaled(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of `conv(x) * scale + shift`."""
    bias = shift if conv.bias is None else conv.bias.double() * scale + shift
    return (conv.weight.double() * scale[:, None, None, None]).float(), bias.float()


class NormRelu:
    """Batch norm and ReLU that nothing before them can take in."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        scale, shift = norm_affine(norm)
        self.scale, self.shift = scale.float(), shift.float()

    def __call__(self, rows: Tensor, out: Tensor | None = None) -> Tensor:
        """[R, C] -> [R, C]."""
        return torch.addcmul(self.shift, rows, self.scale, out=out).relu_()


class ResidualBlock:
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, block: BasicBlock) -> None:
        if block.downsample is None:
            self.first: Conv3x3 | StridedConv = Conv3x3(*fold(block.conv1, block.bn1))
        else:
            weight, bias = fold(cast(nn.Conv2d, block.downsample[0]), cast(nn.BatchNorm2d, block.downsample[1]))
            self.first = StridedConv(*fold(block.conv1, block.bn1), weight[:, :, 0, 0].contiguous(), bias)
        self.second = Conv3x3(*fold(block.conv2, block.bn2))

    def __call__(self, rows: Tensor, level: Level, finer: Level | None, out: Tensor, work: Workspace) -> Tensor:
        """Rows of `finer` (a block that strides) or of `level` -> rows of `level` in `out`."""
        middle = work.take("middle", level.rows, self.second.inputs)
        if isinstance(self.first, StridedConv):
            if finer is None:
                raise ValueError("a block that strides needs the level it strides from")
            shortcut = self.first(rows, finer.stride2, middle, work)
        else:
            shortcut = rows
            self.first(rows, level, middle, work)
        return level.finish(self.second(level.finish(middle), level, out, work, add=shortcut))

    def high_only(self, rows: Tensor, level: Level, out: Tensor, work: Workspace) -> Tensor:
        """The same for high tiles alone, of a block that does not stride; low tiles come out as they are.

        Some low patches are computed nevertheless, to fill up their number, and the rows of the others hold what was
        there before: the low rows of both results are set here.
        """
        middle = work.take("middle", level.rows, self.second.inputs)
        cast(Conv3x3, self.first)(rows, level, middle, work, patches=level.high_patches)
        middle[level.high_pixels :].zero_()  # with the row of zeros and the means, which high tiles do not see
        self.second(middle, level, out, work, add=rows, patches=level.high_patches)
        low = slice(level.high_pixels, level.pixels)
        out[low] = rows[low]
        return level.finish(out)


class Pyramid:
    """Spatial pyramid pooling; only what is pooled is laid out as a dense canvas."""

    def __init__(self, network: SwiftNet, scale: Tensor) -> None:
        spp = network.spp
        self.norm = NormRelu(spp.spp_bn.norm)
        self.reduce = Pointwise(spp.spp_bn.conv.weight[:, :, 0, 0].contiguous(), None)
        self.levels = [cast(BNReluConv, level) for level in spp.spp]
        self.fuse_norm = NormRelu(spp.spp_fuse.norm)
        # The decoder's first batch norm scales what is enlarged into it; its shift comes with the skip.
        weight, bias = scaled(spp.spp_fuse.conv, scale, torch.zeros_like(scale))
        self.fuse = Pointwise(weight[:, :, 0, 0].contiguous(), bias)

    def __call__(self, rows: Tensor, level: Level, blocks: Blocks, out: Tensor) -> Tensor:
        """[level.rows, 512] -> [level.rows, 128] in `out`, finished."""
        x = self.reduce(self.norm(rows[: level.pixels]))
        canvas = level.fine if blocks.n_high else level.coarse
        height, width = canvas.shape
        index = torch.from_numpy(np.ascontiguousarray(canvas).reshape(-1))
        dense = x.index_select(0, index).view(1, height, width, -1).permute(0, 3, 1, 2)
        pooled = []
        for rows_, module in zip(POOL_GRIDS, self.levels, strict=True):
            columns = max(1, round(rows_ * width / height))
            means = module(F.adaptive_avg_pool2d(dense, (rows_, columns)))
            pooled.append(F.interpolate(means, size=(height, width), mode="bilinear", align_corners=False))
        canvas_rows = torch.cat(pooled, 1).permute(0, 2, 3, 1).reshape(height * width, -1)
        joined = x.new_zeros(level.pixels, x.shape[1] + canvas_rows.shape[1])
        joined[:, : x.shape[1]] = x
        # Each canvas pixel goes back to the row it came from; a low row takes the mean of its four.
        back = joined[:, x.shape[1] :]
        if blocks.n_high and blocks.n_low:
            high = torch.from_numpy(np.flatnonzero(np.repeat(np.repeat(blocks.high, 2 * level.q, 0), 2 * level.q, 1)))
            back.index_copy_(0, index.index_select(0, high).long(), canvas_rows.index_select(0, high))
            first, positions = low_groups(canvas, blocks, level.q)
            back.index_copy_(0, first, canvas_rows.index_select(0, positions).view(-1, 4, back.shape[1]).mean(1))
        else:
            back.index_copy_(0, index.long(), canvas_rows)
        self.fuse(self.fuse_norm(joined), out=out[: level.pixels])
        return level.finish(out)


def low_groups(canvas: NDArray[np.int32], blocks: Blocks, q: int) -> tuple[Tensor, Tensor]:
    """Rows of the low blocks' pixels [S] and the positions [S * 4] of the four canvas pixels that each covers."""
    width = canvas.shape[1]
    low = np.repeat(np.repeat(~blocks.high, q, 0), q, 1)  # [GH*q, GW*q]
    y, x = np.nonzero(low)
    corner = 2 * y * width + 2 * x
    positions = corner[:, None] + np.array([0, 1, width, width + 1])
    return torch.from_numpy(canvas.reshape(-1)[corner].astype(np.int64)), torch.from_numpy(positions.reshape(-1))


def enlarging(m: int) -> Tensor:
    """Bilinear enlargement by two as a matrix: from [m/2 + 2] pixels squared to a patch of m squared; [m*m, k*k]."""
    k = m // 2 + 2
    one = np.zeros((m, k))
    for i in range(m // 2):
        one[2 * i, i : i + 2] = 0.25, 0.75
        one[2 * i + 1, i + 1 : i + 3] = 0.75, 0.25
    return torch.from_numpy(np.kron(one, one)).float()


class Blend:
    """One step of the decoder: enlarge, add the encoder's feature, blend.

    Args:
        step: the trained step.
        next_norm: the batch norm that this step's result meets next, which is folded into it, scale alone.
    """

    def __init__(self, step: UpsampleBlend, scale: Tensor, shift: Tensor | None) -> None:
        self.skip_norm = NormRelu(step.bottleneck.norm)
        weight, bias = scaled(step.bottleneck.conv, *norm_affine(step.blend_conv.norm))
        self.skip = Pointwise(weight[:, :, 0, 0].contiguous(), bias)
        self.blend = Conv3x3(*scaled(step.blend_conv.conv, scale, torch.zeros_like(scale) if shift is None else shift))

    def join(self, coarser: Tensor, skip: Tensor, below: Level, level: Level, work: Workspace) -> Tensor:
        """relu(enlarged + skip) in rows of `level`, finished."""
        out = work.take("joined", level.rows, self.skip.outputs)
        matrix = enlarging(level.m)
        per_patch, k = matrix.shape
        c = self.skip.outputs
        step = max(1, min(level.patches, 96))
        matrix = matrix.expand(step, -1, -1)
        for start in range(0, level.patches, step):
            count = min(step, level.patches - start)
            here = slice(start * per_patch, (start + count) * per_patch)
            passed = self.skip_norm(skip[here], out=work.take("normed", count * per_patch, skip.shape[1]))
            passed = self.skip(passed, out=work.take("passed", count * per_patch, c))
            index = below.enlarge[start * k : (start + count) * k]
            near = torch.index_select(coarser, 0, index, out=work.take("gathered", count * k, c))
            y = out[here].view(count, per_patch, c)
            torch.baddbmm(passed.view(count, per_patch, c), matrix[:count], near.view(count, k, c), out=y).relu_()
        return level.finish(out)


class RowNetwork:
    """The whole network.

    Args:
        network: a seamless SwiftNet with a ResNet-18 encoder, in evaluation mode.
    """

    def __init__(self, network: SwiftNet) -> None:
        encoder = cast(ResNet, network.encoder)
        self.stem = Stem(*fold(encoder.conv1, encoder.bn1))
        self.stages = [
            [ResidualBlock(cast(BasicBlock, block)) for block in getattr(encoder, f"layer{i}")] for i in range(1, 5)
        ]
        steps = [cast(UpsampleBlend, step) for step in network.upsample]
        norms = [step.blend_conv.norm for step in steps[1:]]
        scales = [norm_affine(norm)[0] for norm in norms]
        self.shallow = network.shallow
        self.pyramid = Pyramid(network, norm_affine(steps[0].blend_conv.norm)[0])
        last = norm_affine(network.logits.norm)
        self.blends = [Blend(step, s, None) for step, s in zip(steps[:-1], scales, strict=True)]
        self.blends.append(Blend(steps[-1], *last))
        conv = network.logits.conv
        self.logits = Pointwise(conv.weight[:, :, 0, 0].contiguous(), cast(Tensor, conv.bias))
        self.classes = self.logits.outputs
        self.subpixel = None if network.subpixel is None else five_at_once(conv, network.subpixel)
        self.work = Workspace()

    def __call__(self, x: Tensor, high: NDArray[np.bool_], block: int) -> Tensor:
        """Logits of one image.

        Args:
            x: float32 [1, 3, GH*block, GW*block], normalised, channels last.
            high: bool [GH, GW], which blocks run at high resolution.
            block: side of a block in pixels.

        Returns:
            [1, K, GH*block/4, GW*block/4], channels last; overwritten by the next call.
        """
        blocks = Blocks(high, block)
        work = self.work
        sides = [block // 8, block // 16, block // 32, block // 64]
        levels = [make_level(blocks, q, i < 3, True) for i, q in enumerate(sides)]
        rows = work.take("stem", levels[0].rows, 64)
        self.stem(x, blocks, make_pool_border(blocks, block // 4), rows, work)
        levels[0].finish(rows)
        features = []
        for i, (stage, level) in enumerate(zip(self.stages, levels, strict=True)):
            for j, residual in enumerate(stage):
                high_only = j > 0 and i + 1 in self.shallow
                if high_only and not blocks.n_high:
                    continue
                out = work.take(f"stage{i}.{j}", level.rows, residual.second.outputs)
                if high_only:
                    rows = residual.high_only(rows, level, out, work)
                else:
                    rows = residual(rows, level, levels[i - 1] if i else None, out, work)
            features.append(rows)
        deepest = levels[3]
        rows = self.pyramid(features[3], deepest, blocks, work.take("pyramid", deepest.rows, 128))
        for i, blend in zip((2, 1), self.blends, strict=False):
            joined = blend.join(rows, features[i], levels[i + 1], levels[i], work)
            out = work.take(f"blend{i}", levels[i].rows, blend.blend.outputs)
            rows = levels[i].finish(blend.blend(joined, levels[i], out, work, relu=False))
        level = levels[0]
        joined = self.blends[-1].join(rows, features[0], levels[1], level, work)
        return self.combine(joined, level, blocks)

    def combine(self, joined: Tensor, level: Level, blocks: Blocks) -> Tensor:
        """The last convolutions, and BlockCombine: rows [level.rows, 128] -> [1, K, GH*2q, GW*2q]."""
        if self.subpixel is not None and blocks.n_low:
            rows = self.work.take("logits", level.rows, self.subpixel.outputs)
            self.blends[-1].blend(joined, level, rows, self.work, then=self.subpixel)
            return self.canvas(rows.view(-1, self.classes), subpixel_index(level, blocks))
        q, k = level.q, self.classes
        area = 4 * q * q
        rows = self.work.take("logits", level.rows + blocks.n_low * area, k)
        self.blends[-1].blend(joined, level, rows, self.work, then=self.logits)
        level.finish(rows[: level.rows])
        index = level.fine
        if blocks.n_low:
            matrix = enlarging(patch_side(2 * q))
            per_patch, near = matrix.shape
            patches = blocks.n_low * area // per_patch
            first = 4 * blocks.n_high * area // 4 // (per_patch // 4) * near
            found = rows.index_select(0, level.enlarge[first : first + patches * near]).view(patches, near, k)
            torch.bmm(matrix.expand(patches, -1, -1), found, out=rows[level.rows :].view(patches, per_patch, k))
            index = combined_index(level, blocks)
        return self.canvas(rows, index)

    def canvas(self, rows: Tensor, index: NDArray[np.int32]) -> Tensor:
        """Lay rows [R, K] out as a picture, [1, K, H, W], whose pixels' rows `index` [H, W] names."""
        height, width = index.shape
        flat = torch.from_numpy(np.ascontiguousarray(index).reshape(-1))
        canvas = torch.index_select(rows, 0, flat, out=self.work.take("canvas", height * width, self.classes))
        return canvas.view(1, height, width, self.classes).permute(0, 3, 1, 2)


def five_at_once(logits: nn.Conv2d, subpixel: nn.Conv2d) -> Pointwise:
    """The last layers of high and low blocks side by side: K logits of a high pixel, then K for each of 2x2 pixels.

    Every pixel gets all of them and uses one or four: next to the convolution before, that costs nothing worth saving.
    """
    classes, width = logits.weight.shape[:2]
    weight = subpixel.weight.view(classes, 4, width).transpose(0, 1).reshape(-1, width)  # [4 * K, C], pixel by pixel
    bias = cast(Tensor, subpixel.bias).view(classes, 4).T.reshape(-1)
    weight = torch.cat([logits.weight[:, :, 0, 0], weight]).contiguous()
    return Pointwise(weight, torch.cat([cast(Tensor, logits.bias), bias]))


def subpixel_index(level: Level, blocks: Blocks) -> NDArray[np.int32]:
    """[GH*2q, GW*2q]: where each pixel's K logits are among the five that every row has, see `five_at_once`."""
    side = 2 * level.q
    index = (5 * level.fine).reshape(blocks.rows, side, blocks.columns, side)
    within = np.arange(side, dtype=np.int32) % 2
    part = 1 + 2 * within[None, :, None, None] + within[None, None, None, :]
    np.add(index, part, out=index, where=~blocks.high[:, None, :, None])
    return index.reshape(level.fine.shape)


def combined_index(level: Level, blocks: Blocks) -> NDArray[np.int32]:
    """[GH*2q, GW*2q]: the row of each pixel, low ones among the enlarged rows behind the level's own."""
    side = 2 * level.q
    index = np.ascontiguousarray(level.fine).reshape(blocks.rows, side, blocks.columns, side)
    low = level.rows + (blocks.first_tile - 4 * blocks.n_high)[:, None, :, None] * (side * side)
    inner = patch_order(side)[None, :, None, :]
    np.copyto(index, low + inner, where=~blocks.high[:, None, :, None])
    return index.reshape(level.fine.shape)
