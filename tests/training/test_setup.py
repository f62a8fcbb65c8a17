"""What a training needs before its first step: splits that belong together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segstream.errors import UsageError
from segstream.geometry import fit
from segstream.training.config import TrainConfig
from segstream.training.setup import load_data
from tests.training.test_train import config, start


def test_training_images_and_val_have_one_version_of_the_classes(tmp_path: Path) -> None:
    """Half a download of Mapillary Vistas: labels of version 2.0 to train on, of 1.2 to validate."""
    for version, part, count in (("2.0", "training", 5), ("1.2", "validation", 3)):
        labels = [{"readable": f"class {i}", "evaluate": True} for i in range(count)]
        (tmp_path / f"config_v{version}.json").write_text(json.dumps({"labels": labels}))
        for folder, shape in (("images", (32, 64, 3)), (f"v{version}/labels", (32, 64))):
            place = tmp_path / part / folder
            place.mkdir(parents=True)
            Image.fromarray(np.zeros(shape, np.uint8)).save(place / "x.png")
    settings = TrainConfig(dataset="mapillary", data_dir=str(tmp_path))
    with pytest.raises(UsageError, match=r"mapillary-v2\.0 of 5 classes and those of val mapillary-v1\.2 of 3"):
        load_data(settings, torch.device("cpu"))


def test_images_keep_their_shape_at_the_size_that_the_network_sees(camvid: Path, tmp_path: Path) -> None:
    """As in use, where a size says how many pixels. Crops are of images of the same."""
    run, data = start(config(camvid, input_size=(128, 128)), tmp_path)
    content = fit((60, 120), (128, 128), 64).content
    assert content == (92, 180) and run.job.size == (180, 92)
    for split in (data.train, data.val):
        assert split.content == content and split.labels.shape[1:] == (60, 120)
