"""What a training needs before its first step: splits that belong together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segstream.errors import UsageError
from segstream.training.config import TrainConfig
from segstream.training.setup import load_data


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
