"""Pictures of grids for TensorBoard."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from segstream.training.setup import load_data
from segstream.training.tracking import Tracker, with_grid
from tests.training.test_train import config


def test_a_grid_is_drawn_block_by_block() -> None:
    """Also where the last blocks of a row or column are mostly padding, so that their number does not tell the size."""
    image = torch.full((3, 130, 130), 100, dtype=torch.uint8)
    seen = with_grid(image, torch.tensor([[True, False], [False, True]]), 128)
    assert (seen[:, :128, :128] == 100).all() and (seen[:, 128:, 128:] == 100).all()
    assert (seen[:, :128, 128:] == 40).all() and (seen[:, 128:, :128] == 40).all()


def test_a_grid_is_drawn_over_what_the_network_sees(camvid: Path, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    data = load_data(config(camvid, input_size=(160, 80)), torch.device("cpu"))
    tracker = Tracker(tmp_path)
    tracker.evaluation(3, {}, data, torch.tensor([[[True, False, True], [False, True, False]]]), 64)
    tracker.close()
    found = events.EventAccumulator(str(tmp_path)).Reload()
    with Image.open(io.BytesIO(found.Images("high blocks on val")[0].encoded_image_string)) as picture:
        assert picture.size == (4 * 160, 80)  # side by side
