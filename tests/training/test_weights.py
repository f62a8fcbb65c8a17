"""Encoder weights under torchvision's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segstream.errors import ModelError
from segstream.models import SwiftNet
from segstream.training.weights import load_encoder


def test_torchvision_names_fill_the_encoder(tmp_path: Path) -> None:
    network = SwiftNet("resnet18", 3)
    state = {name: torch.randn_like(value.float()) for name, value in network.encoder.state_dict().items()}
    # As torchvision saves it: blocks of a layer by number, and a classifier.
    names = {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv1.weight",
        "layer4.1.bn2.bias",
        "layer2.0.downsample.1.weight",
    }
    assert names <= set(state)
    torch.save({**state, "fc.weight": torch.zeros(1000, 512)}, tmp_path / "resnet18.pth")
    load_encoder(network, tmp_path / "resnet18.pth")
    assert torch.equal(network.encoder.state_dict()["layer4.1.bn2.bias"], state["layer4.1.bn2.bias"])


def test_other_files_are_refused(tmp_path: Path) -> None:
    network = SwiftNet("resnet18", 3)
    with pytest.raises(ModelError, match="no file"):
        load_encoder(network, tmp_path / "none.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.pth")
    with pytest.raises(ModelError, match="torchvision"):
        load_encoder(network, tmp_path / "vgg.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ModelError, match="cannot be read"):
        load_encoder(network, tmp_path / "text.pth")
