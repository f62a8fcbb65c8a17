"""Checkpoints of others: the SegBlocks authors' files and torchvision's ImageNet encoders."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from segstream.errors import ModelError
from segstream.models.files import Model, build_model, fill
from segstream.models.spec import ModelSpec

# Names of the authors' checkpoints, and ours.
_RENAMES = (
    (re.compile(r"^net\.backbone\."), "network.encoder."),
    (re.compile(r"^net\.spp\.spp\.spp(\d+)\."), r"network.spp.spp.\1."),
    (re.compile(r"^net\.spp\.spp\."), "network.spp."),
    (re.compile(r"^net\."), "network."),
    (re.compile(r"^policy\.policy_net\."), "policy."),
)
# The classifier of the encoder that they keep in the file and never run.
_UNUSED = re.compile(r"^network\.encoder\.(head|fc|classifier)\.|num_batches_tracked$")


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint (PyTorch's or safetensors) without running any code that the file may hold.

    Returns:
        The tensors by name; a `state_dict` inside the file is taken out, `module.` prefixes are removed.

    Raises:
        ModelError: if the file is missing, is no checkpoint, or needs more than tensors and plain values to be read.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no checkpoint {path}; check the path")
    try:
        content: Any
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} cannot be read as plain weights, and segstream runs no code from files; save its `state_dict` "
            "alone with torch.save and import that"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"{path} is no checkpoint of weights ({type(error).__name__}); check the file") from error
    if isinstance(content, dict):
        for key in ("state_dict", "model"):
            if isinstance(content.get(key), dict):
                content = content[key]
                break
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a {type(content).__name__}, not weights by name; save a `state_dict`")
    tensors = {str(k).removeprefix("module."): v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ModelError(f"{path} holds no weights; expected a `state_dict`")
    return tensors


def import_authors(path: str | Path, spec: ModelSpec) -> Model:
    """Read a checkpoint of the SegBlocks authors' implementation (`net.*`, `policy.policy_net.*`).

    Args:
        path: the checkpoint.
        spec: what the model is; its `interpolation` should be "local", as these networks were trained.

    Raises:
        ModelError: if the checkpoint is unreadable or of another network.
    """
    return build_model(spec, rename_authors(read_checkpoint(path)), str(path))


def rename_authors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names as ours; tensors that the network never uses are left out."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, ours in _RENAMES:
            name, count = pattern.subn(ours, name)
            if count:
                break
        if not _UNUSED.search(name):
            renamed[name] = tensor.float() if tensor.is_floating_point() else tensor
    return renamed


def class_count(tensors: dict[str, Tensor]) -> int:
    """Number of classes of an authors' checkpoint, from its last layer."""
    bias = rename_authors(tensors).get("network.logits.conv.bias")
    if bias is None:
        raise ModelError(
            "the checkpoint has no 'net.logits.conv.bias': it is not one of the SegBlocks authors' networks"
        )
    return int(bias.numel())


def load_encoder(encoder: nn.Module, path: str | Path) -> None:
    """Fill an encoder with ImageNet weights (torchvision's names for ResNets); the classifier is left out.

    Raises:
        ModelError: if the file is unreadable or of another encoder.
    """
    tensors = read_checkpoint(path)
    tensors = {k: v for k, v in tensors.items() if not re.match(r"(fc|head|classifier)\.", k)}
    fill(encoder, tensors, str(path))
