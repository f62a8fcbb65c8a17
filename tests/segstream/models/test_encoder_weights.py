"""Encoder weights under torchvision's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from segstream.errors import ModelError
from segstream.models import SwiftNet
from segstream.models.checkpoints import load_encoder
from segstream.models.swiftnet import ENCODERS

# As torchvision saves ResNets and timm EfficientNet-Lite: layers by number, and a classifier.
NAMES = {
    "resnet18": {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.1.bn2.bias"},
    "resnet50": {"layer1.0.conv3.weight", "layer1.0.downsample.1.weight", "layer4.2.bn3.bias"},
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_imagenet_weights_fill_the_encoder(encoder: str, ending: str, tmp_path: Path) -> None:
    network = SwiftNet(encoder, 3)
    state = {name: torch.randn_like(value.float()) for name, value in network.encoder.state_dict().items()}
    assert NAMES.get(encoder, set()) <= set(state)
    saved, path = {**state, "fc.weight": torch.zeros(10, 512)}, tmp_path / f"weights.{ending}"
    if ending == "pth":
        torch.save(saved, path)
    else:
        save_file(saved, path)
    load_encoder(network.encoder, path)
    filled = network.encoder.state_dict()
    assert all(torch.equal(filled[name].float(), value) for name, value in state.items() if "batches" not in name)


def test_other_files_are_refused(tmp_path: Path) -> None:
    network = SwiftNet("resnet18", 3)
    with pytest.raises(ModelError, match="no checkpoint"):
        load_encoder(network.encoder, tmp_path / "none.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.pth")
    with pytest.raises(ModelError, match="vgg"):
        load_encoder(network.encoder, tmp_path / "vgg.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ModelError, match="no checkpoint of weights"):
        load_encoder(network.encoder, tmp_path / "text.pth")
