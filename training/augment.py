"""Augmentation of a whole batch on the device it is trained on: scale, crop, flip, colours, normalisation.

A library of augmentations decides on the host what it does, which would stop the GPU at every step and cannot be
captured in a CUDA graph; here every choice is a tensor, and all colour changes are one 3x3 matrix an image.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from segstream.datasets import IGNORE
from segstream.geometry import STRIDE, fit

GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in luma


@cache
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """float32 numbers on a device, sent there once: a copy from the host cannot be captured in a CUDA graph."""
    return torch.tensor(values, device=device)


def augment(
    images: Tensor,
    labels: Tensor,
    crop: tuple[int, int],
    scale: tuple[float, float],
    jitter: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    generator: torch.Generator,
    aspect: float = 1.0,
    size: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Random crops of a batch, normalised.

    Where the scaled image is smaller than the crop it lies anywhere in it; what is beyond the image is zero after
    normalisation and ignored in the labels, as the padding to whole blocks is when the network is used.

    Args:
        images: uint8 or float32 [N, 3, H, W], RGB, 0..255.
        labels: uint8 [N, H, W].
        crop: width and height of the result.
        scale: smallest and largest scale; its logarithm is drawn uniformly.
        jitter: strength of changes of brightness, contrast and saturation (hue: a quarter of it, in turns times 0.5).
        mean, std: normalisation of RGB in 0..1.
        generator: where chance comes from; on the images' device.
        aspect: largest change of the ratio of width to height, in either direction; 1 keeps it.
        size: width and height that images have at scale 1; None takes their own. Labels are sampled at their own size.

    Returns:
        float32 [N, 3, crop height, crop width] and int64 [N, crop height, crop width].
    """
    n, _, height, width = images.shape
    chance = torch.rand(n, 10, device=images.device, generator=generator)
    seen = (height, width) if size is None else size[::-1]
    where = window(chance[:, :5], seen, crop, scale, aspect)  # [N, h, w, 2]
    floats = images.float()
    matrix, offset = colour_change(chance[:, 5:], jitter, floats.mean((2, 3)) / 255)
    if seen[0] < height or seen[1] < width:  # sampling alone would leave out pixels, which are averaged in use
        floats = scaled(floats, seen)
    picture = F.grid_sample(floats, where, mode="bilinear", padding_mode="border", align_corners=False)
    # One is added so that zero, which lies beyond the image, means "ignored".
    index = labels.float()[:, None] + 1
    index = F.grid_sample(index, where, mode="nearest", padding_mode="zeros", align_corners=False)[:, 0].long()
    centre = constant(mean, images.device)
    gain = 1 / constant(std, images.device)
    # Colour change and normalisation together are one affine map of RGB.
    matrix = gain[None, :, None] * matrix / 255
    offset = gain * (offset - centre)
    picture = torch.einsum("nij,njhw->nihw", matrix, picture) + offset[:, :, None, None]
    picture = picture * (index > 0)[:, None]
    index = torch.where(index == 0, IGNORE, index - 1)
    return picture, index


def window(
    chance: Tensor, size: tuple[int, int], crop: tuple[int, int], scale: tuple[float, float], aspect: float
) -> Tensor:
    """Where each pixel of the crop looks in the image, for `grid_sample`: float32 [N, h, w, 2].

    `chance` is uniform, [N, 5]: scale, horizontal place, vertical place, flip, ratio of width to height. `size` is the
    height and width of the image at scale 1.
    """
    low, high = (math.log(s) for s in scale)
    factor = torch.exp(low + (high - low) * chance[:, 0])  # [N]
    stretch = torch.exp(0.5 * math.log(aspect) * (2 * chance[:, 4] - 1))  # [N], of the width; its inverse of the height
    flip = torch.where(chance[:, 3] < 0.5, 1.0, -1.0)
    axes = []
    sides = ((size[1], crop[0], factor * stretch), (size[0], crop[1], factor / stretch))
    for axis, (pixels, out, zoom) in enumerate(sides):
        # The crop begins at `start` in the scaled image; negative where the image is the smaller one.
        room = zoom * pixels - out
        start = room * chance[:, 1 + axis]
        at = torch.arange(out, device=chance.device) + 0.5
        unit = (start[:, None] + at[None, :]) / (zoom[:, None] * pixels) * 2 - 1  # [N, out]
        axes.append(unit * flip[:, None] if axis == 0 else unit)
    across, down = axes
    n = chance.shape[0]
    return torch.stack(
        [across[:, None, :].expand(n, crop[1], crop[0]), down[:, :, None].expand(n, crop[1], crop[0])], -1
    )


def colour_change(chance: Tensor, jitter: float, average: Tensor) -> tuple[Tensor, Tensor]:
    """One affine map of RGB an image that changes brightness, contrast, saturation and hue.

    Args:
        chance: uniform [N, 5]: brightness, contrast, saturation, hue, and (the last) whether anything changes.
        jitter: strength, 0..1.
        average: [N, 3], mean colour of each image in 0..1, which contrast turns around.

    Returns:
        matrix [N, 3, 3] and offset [N, 3]: new = matrix @ old + offset, in 0..1.
    """
    strength = jitter * (chance[:, 4:5] < 0.8)  # one image in five keeps its colours
    brightness, contrast, saturation = (1 + strength * (2 * chance[:, i : i + 1] - 1) for i in range(3))  # [N, 1]
    turn = math.pi * 0.25 * strength * (2 * chance[:, 3:4] - 1)
    grey = constant(GREY, chance.device)
    eye = torch.eye(3, device=chance.device)
    luma = grey.expand(3, 3)  # every row gives the luma
    third = torch.full((3, 3), 1 / 3, device=chance.device)
    cross = constant((0.0, -1.0, 1.0, 1.0, 0.0, -1.0, -1.0, 1.0, 0.0), chance.device).view(3, 3) / math.sqrt(3)
    cos, sin = torch.cos(turn)[..., None], torch.sin(turn)[..., None]
    hue = cos * eye + (1 - cos) * third + sin * cross  # rotation about the grey axis
    saturate = saturation[..., None] * eye + (1 - saturation[..., None]) * luma
    gain = (brightness * contrast)[..., None]
    matrix = gain * (saturate @ hue)
    middle = (average @ grey)[:, None]
    offset = (brightness * (1 - contrast) * middle).expand(-1, 3)
    return matrix, offset


def seen_size(images: tuple[int, int], input_size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Width and height that the network sees images of a height and width at, by the setting `input_size`.

    As in use they keep their shape. None is their own size.
    """
    if input_size is None:
        return None
    height, width = fit(images, input_size, STRIDE).content
    return width, height


def scaled(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images as `segstream.geometry.scale_image` scales them in use: averaged if they shrink, bilinear if they grow.

    Args:
        images: uint8 or float32 [N, C, H, W].
        size: height and width of the result.

    Returns:
        float32 [N, C, h, w], not rounded.
    """
    (height, width), (h, w) = images.shape[-2:], size
    if h > height or w > width:
        return F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False)
    # The sum of all that is above and to the left of a place, [N, C, H+1, W+1]; it is bilinear within a pixel, and the
    # sum over any box is a difference of four. In double precision, since these sums are large.
    total = F.pad(images.double().cumsum(-1).cumsum(-2), (1, 0, 1, 0))
    total = F.interpolate(total, size=(h + 1, w + 1), mode="bilinear", align_corners=True)
    sums = total.diff(dim=-1).diff(dim=-2)  # [N, C, h, w]
    return (sums * (h * w / (height * width))).float()


def plain(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...], block: int) -> Tensor:
    """Images as they are used: normalised, padded by zeros at the right and bottom to whole blocks.

    uint8 [N, 3, H, W] -> float32 [N, 3, GH*block, GW*block].
    """
    centre = 255 * constant(mean, images.device)[:, None, None]
    deviation = 255 * constant(std, images.device)[:, None, None]
    height, width = images.shape[-2:]
    x = (images.float() - centre) / deviation
    return F.pad(x, (0, -width % block, 0, -height % block))
