"""Augmentation: image and labels stay together, the padding is neutral, the same seed gives the same crops."""

from __future__ import annotations

import torch

from segstream.datasets import IGNORE
from segstream.models.spec import IMAGENET_MEAN, IMAGENET_STD
from segstream.training.augment import augment, plain, window


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
