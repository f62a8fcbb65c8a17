"""A training's figures are those that users get, at whichever size the network sees the images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segstream.datasets import IGNORE, open_dataset
from segstream.engines.torch_engine import to_labels
from segstream.evaluate import confusion, evaluate
from segstream.geometry import fit, to_input
from segstream.models import SwiftNet, load_model, save_model
from segstream.models.spec import IMAGENET_MEAN, IMAGENET_STD
from segstream.training.augment import plain
from segstream.training.losses import enlarge
from segstream.training.result import make_model
from segstream.training.validate import Split, measure
from tests.training.test_train import config, start


@pytest.fixture
def split() -> Split:
    """Two images of 120x60 pixels with classes of 0 to 10, of any colours and classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 60, 120), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(0, 11, (2, 60, 120), generator=generator, dtype=torch.uint8))


@torch.no_grad()
def level(network: SwiftNet, x: torch.Tensor) -> None:
    """Let an untrained network, in evaluation mode, see every class about as often, for class maps that vary.

    `x` is what it sees, [N, 3, H, W].
    """
    network.logits.conv.bias.sub_(network(x).mean((0, 2, 3)))  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("size", [(160, 80), (64, 32), (128, 128)])  # enlarged, shrunk, and of another shape
@torch.no_grad()
def test_users_get_the_class_maps_that_a_training_measures(size: tuple[int, int], camvid: Path, tmp_path: Path) -> None:
    run, data = start(config(camvid, mode="dense", input_size=size), tmp_path)
    level(run.job.network, data.val.x(0, 64))
    file = tmp_path / "tiny.safetensors"
    save_model(make_model(run.job, run.config, data), file, torch.float32)
    model, val = load_model(str(file)), open_dataset("camvid", camvid, "val")
    assert model.spec.size == size
    geometry = fit((60, 120), model.spec.size, 64)
    logits = model.network(to_input(val[0].image, geometry, IMAGENET_MEAN, IMAGENET_STD))
    found = to_labels(logits, geometry)  # uint8 [60, 120]
    theirs = replace(val, read=lambda index: (val.read(index)[0], found))
    assert evaluate(model, theirs, policy="high", device="cpu").pixel_accuracy == 1
    matrix = measure(run.job.network, replace(data.val, labels=torch.from_numpy(found)[None]), None, 64, 11)
    # Their pixels are rounded to whole numbers once more.
    assert matrix.diag().sum() > 0.985 * matrix.sum() and (matrix.sum(1) > 0).sum() > 5


@torch.no_grad()
def test_at_their_own_size_images_are_taken_as_they_are(split: Split) -> None:
    torch.manual_seed(0)
    network = SwiftNet("efficientnet-lite1", 11).eval()
    level(network, split.x(0, 64))
    expected = plain(split.images, IMAGENET_MEAN, IMAGENET_STD, 64)  # [2, 3, 64, 128]
    logits = enlarge(network(expected))[:, :, :60, :120]
    for same in (split, replace(split, size=(120, 60))):
        assert torch.equal(same.x(0, 64), expected) and same.grid_shape(64) == (1, 2)
        assert torch.equal(same.truth(0, expected)[:, :60, :120], split.labels.long())
        found = measure(network, same, None, 64, 11)
        assert torch.equal(found, confusion(logits.argmax(1), split.labels, 11))


def test_truth_lies_on_the_scaled_image_and_its_padding_is_ignored(split: Split) -> None:
    seen = replace(split, size=(160, 80))
    x = seen.x(0, 64)
    truth = seen.truth(0, x)
    assert seen.grid_shape(64) == (2, 3) and x.shape == (2, 3, 128, 192) and truth.shape == (2, 128, 192)
    down, across = (((torch.arange(side) + 0.5) * 0.75).long() for side in (80, 160))  # pixels of the image below
    assert torch.equal(truth[:, :80, :160], split.labels.long()[:, down][:, :, across])
    assert (truth[:, 80:] == IGNORE).all() and (truth[:, :, 160:] == IGNORE).all()
    assert not x[:, :, 80:].any() and not x[:, :, :, 160:].any()
