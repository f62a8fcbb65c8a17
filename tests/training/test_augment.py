"""Augmentation: image and labels stay together, the padding is neutral, the same seed gives the same crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segstream.datasets import IGNORE
from segstream.geometry import Geometry, scale_image
from segstream.models.spec import IMAGENET_MEAN, IMAGENET_STD
from segstream.training.augment import augment, plain, scaled, window


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose red value tells the label: four vertical stripes."""
    labels = torch.arange(4).repeat_interleave(20)[None, None].expand(2, 60, 80).to(torch.uint8)
    return (labels[:, None] * 60).expand(2, 3, 60, 80).contiguous(), labels.contiguous()


def run(seed: int, jitter: float = 0.0, scale: tuple[float, float] = (0.5, 2.0)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return augment(*batch(), (96, 64), scale, jitter, IMAGENET_MEAN, IMAGENET_STD, generator)


def test_labels_follow_the_image() -> None:
    for seed in range(5):
        x, labels = run(seed)
        assert x.shape == (2, 3, 64, 96) and labels.shape == (2, 64, 96)
        red = (x[:, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255 / 60
        known = labels != IGNORE
        # Bilinear pictures and nearest labels differ only beside the stripes' borders.
        assert ((red - labels).abs()[known] < 0.51).float().mean() > 0.97


def test_beyond_the_image_is_zero_and_ignored() -> None:
    x, labels = run(0, scale=(0.5, 0.5))
    outside = labels == IGNORE
    assert outside.float().mean() > 0.5
    assert float(x[outside[:, None].expand_as(x)].abs().max()) == 0


def test_aspect_changes_the_shape_and_not_the_area() -> None:
    chance = torch.tensor([[0.5, 0.0, 0.0, 0.0, 1.0], [0.5, 0.0, 0.0, 0.0, 0.5]])
    stretched, kept = window(chance, (60, 80), (40, 40), (1.0, 1.0), 1.44)
    step = torch.stack([stretched[0, 1] - stretched[0, 0], kept[0, 1] - kept[0, 0]])[:, 0]
    down = torch.stack([stretched[1, 0] - stretched[0, 0], kept[1, 0] - kept[0, 0]])[:, 1]
    assert abs(float(step[1] / step[0]) - 1.2) < 1e-4 and abs(float(down[0] / down[1]) - 1.2) < 1e-4


def test_same_seed_same_crops_and_colours_change() -> None:
    first, second, other = run(6, 0.3), run(6, 0.3), run(4, 0.3)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], run(6, 0.0)[0])


def test_plain_input_is_normalised_and_padded() -> None:
    x = plain(batch()[0], IMAGENET_MEAN, IMAGENET_STD, 64)
    assert x.shape == (2, 3, 64, 128)
    assert float(x[:, :, 60:].abs().max()) == 0
    assert abs(float(x[0, 0, 0, 0]) + IMAGENET_MEAN[0] / IMAGENET_STD[0]) < 1e-5


def ramp(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose red rises from left to right and green downwards, the same at any size, and eight wide stripes."""
    across, down = ((torch.arange(side) + 0.5) / side for side in (width, height))
    red, green = across.expand(height, width), down[:, None].expand(height, width)
    images = 255 * torch.stack([red, green, red]).expand(4, 3, height, width)
    return images, (8 * red).to(torch.uint8).expand(4, height, width)


@pytest.mark.parametrize("size", [(160, 120), (40, 30)])
def test_images_are_augmented_as_if_they_had_been_scaled_before(size: tuple[int, int]) -> None:
    made = []
    for (images, labels), seen in ((ramp(60, 80), size), (ramp(size[1], size[0]), None)):
        generator = torch.Generator().manual_seed(2)
        norm = ((0.0,) * 3, (1 / 255,) * 3)  # keeps 0..255
        made.append(augment(images, labels, (96, 64), (0.5, 2.0), 0.0, *norm, generator, 1.2, seen))
    (found, labels), (expected, stripes) = made
    assert torch.equal(labels, stripes) and 0.05 < (labels == IGNORE).float().mean() < 0.95
    inside = ((expected > 8) & (expected < 247))[:, :2].all(1)  # half a pixel from the border a ramp is level
    assert inside.float().mean() > 0.1
    torch.testing.assert_close(found.movedim(1, 3)[inside], expected.movedim(1, 3)[inside], atol=0.05, rtol=0)


def test_what_lies_between_the_pixels_of_a_shrunk_image_counts() -> None:
    images = torch.zeros(1, 3, 60, 80)
    images[:, :, :, ::4] = 255
    generator = torch.Generator().manual_seed(0)
    norm = ((0.0,) * 3, (1 / 255,) * 3)  # keeps 0..255
    labels = torch.zeros(1, 60, 80, dtype=torch.uint8)
    x, labels = augment(images, labels, (32, 32), (1.0, 1.0), 0.0, *norm, generator, size=(20, 15))
    torch.testing.assert_close(x[:, 0][labels == 0], torch.full((300,), 255 / 4))


@pytest.mark.parametrize("size", [(44, 68), (30, 45), (80, 120)])
def test_images_are_scaled_as_in_use(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    expected = torch.from_numpy(scale_image(image, Geometry((60, 90), size, 2, 2, 64))).permute(2, 0, 1)
    found = scaled(torch.from_numpy(image).permute(2, 0, 1)[None], size)[0]
    assert (found - expected).abs().max() < 1  # which is rounded
