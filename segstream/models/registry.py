"""The models a user can name."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from segstream.errors import ModelError
from segstream.models.files import Model, read_model
from segstream.models.policy_net import PolicyNet
from segstream.models.spec import ModelSpec
from segstream.models.swiftnet import SwiftNet
from segstream.palettes import CAMVID

WEIGHTS = Path(__file__).resolve().parent / "weights"
DEFAULT_MODEL = "swiftnet-rn18-camvid"
UNTRAINED = "untrained-rn18"  # random weights, for tests and timings that need no accuracy


def model_names() -> list[str]:
    """Names of the installed models, the default first."""
    names = sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))
    return sorted(names, key=lambda name: name != DEFAULT_MODEL)


def model_path(name: str | Path) -> Path:
    """The file of a model given by name or path.

    Raises:
        ModelError: if there is no such model.
    """
    path = Path(name)
    if path.suffix == ".safetensors" or path.is_file():
        return path
    installed = WEIGHTS / f"{name}.safetensors"
    if path.name == str(name) and installed.is_file():
        return installed
    raise ModelError(
        f"there is no model {str(name)!r}; use one of {', '.join(model_names()) or 'none installed'}, or the path of a "
        ".safetensors file"
    )


def load_model(name: str | Path = DEFAULT_MODEL) -> Model:
    """Load a model by name or path.

    Returns:
        The networks in float32, in evaluation mode, on the CPU, with their spec.

    Raises:
        ModelError: if there is no such model or its file cannot be used.
    """
    if str(name) == UNTRAINED:
        return untrained_model()
    return read_model(model_path(name))


def untrained_model(
    encoder: str = "resnet18", seed: int = 0, subpixel: bool = False, shallow: tuple[int, ...] = ()
) -> Model:
    """A model with seeded random weights: as fast as a trained one, and of no other use."""
    classes, palette = tuple(CAMVID), tuple(CAMVID.values())
    spec = ModelSpec(name=UNTRAINED, encoder=encoder, classes=classes, palette=palette, shallow=shallow)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SwiftNet(encoder, len(spec.classes), subpixel=subpixel, shallow=shallow).eval()
        policy_net = PolicyNet().eval()
        for module in (*network.modules(), *policy_net.modules()):
            if isinstance(module, nn.BatchNorm2d):
                # Statistics unlike the initial ones, so that folding them is tested.
                nn.init.uniform_(cast(Tensor, module.running_mean), -0.1, 0.1)
                nn.init.uniform_(cast(Tensor, module.running_var), 0.5, 1.5)
    return Model(network, policy_net, spec)
