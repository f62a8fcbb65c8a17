"""Reading and writing model files: safetensors with the spec in the metadata."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from segstream.errors import ModelError, OutputError
from segstream.models.policy_net import PolicyNet, policy_shaped_as
from segstream.models.spec import ModelSpec, spec_from_json
from segstream.models.swiftnet import ENCODERS, SwiftNet

METADATA_KEY = "segstream"


@dataclass(slots=True)
class Model:
    """A network with its policy network, where it has one, and what is known of them."""

    network: SwiftNet
    policy_net: PolicyNet | None
    spec: ModelSpec


def save_model(model: Model, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a model file; an older file of that name is replaced only once the new one is complete.

    Args:
        model: what to write.
        path: the file, which should end in .safetensors.
        dtype: type of the stored weights.

    Raises:
        OutputError: if the file cannot be written.
    """
    tensors = {f"network.{k}": v for k, v in model.network.state_dict().items()}
    if model.policy_net is not None:
        tensors |= {f"policy.{k}": v for k, v in model.policy_net.state_dict().items()}
    stored = {k: storable(v, dtype) for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        try:
            save_file(stored, temporary, metadata={METADATA_KEY: model.spec.to_json()})
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"cannot write the model to {path} ({error}); choose a folder that exists and is writable"
        ) from error


def storable(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach().cpu()
    if not tensor.is_floating_point():
        return tensor.contiguous()
    smaller = tensor.to(dtype)
    # Variances of batch norm may be larger than half precision holds: those stay as they are.
    fits = bool((smaller.isfinite() == tensor.isfinite()).all())
    return (smaller if fits else tensor).contiguous()


def read_model(path: str | Path) -> Model:
    """Read a model file written by `save_model`.

    Returns:
        The networks in float32, in evaluation mode, on the CPU.

    Raises:
        ModelError: if the file is missing, is no safetensors file, or holds the weights of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no model file {path}; see `segstream models` for the models that are installed")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tensors = {name: tensor if tensor.is_complex() else tensor.float() for name, tensor in found.items()}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:  # the last of tensors that torch lacks
        raise ModelError(
            f"{path} is not a readable safetensors file ({error}); use a model listed by `segstream models`, or import "
            "a checkpoint with `segstream models import`"
        ) from error
    if METADATA_KEY not in metadata:
        raise ModelError(
            f"{path} holds weights but no segstream model; import a checkpoint with `segstream models import`"
        )
    spec = spec_from_json(metadata[METADATA_KEY], str(path))
    return build_model(spec, tensors, str(path))


def build_model(spec: ModelSpec, tensors: dict[str, Tensor], where: str) -> Model:
    """Make the networks of a spec and fill them with tensors named `network.*` and `policy.*`."""
    if spec.encoder not in ENCODERS:
        raise ModelError(
            f"{where} asks for the encoder {spec.encoder!r}, but this version knows only {', '.join(ENCODERS)}"
        )
    network_tensors = {k[8:]: v for k, v in tensors.items() if k.startswith("network.")}
    seamless, subpixel = spec.interpolation == "seamless", "subpixel.weight" in network_tensors
    try:
        network = SwiftNet(spec.encoder, len(spec.classes), seamless, subpixel, spec.shallow)
    except ValueError as error:
        raise ModelError(f"{where} asks for a network that this version does not know: {error}") from error
    fill(network, network_tensors, where)
    policy_net = None
    policy_tensors = {k[7:]: v for k, v in tensors.items() if k.startswith("policy.")}
    if policy_tensors:
        policy_net = policy_shaped_as(policy_tensors)
        if policy_net is None:
            raise ModelError(f"{where} holds a policy network that this version does not know; take another model file")
        fill(policy_net, policy_tensors, where)
        policy_net.eval()
    return Model(network.eval(), policy_net, spec)


def fill(module: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Load tensors into a module, every one of them and no other.

    Raises:
        ModelError: if names or shapes are of another network.
    """
    wanted = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    missing, unknown = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing or unknown:
        what = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r}, which this network does not"
        raise ModelError(
            f"{where} holds the weights of another network: it {what} "
            f"({len(missing)} missing, {len(unknown)} unknown); check the encoder"
        )
    for name, tensor in given.items():
        if tensor.is_complex():
            raise ModelError(f"{where} holds complex numbers ({name!r}), which no network here has; take another file")
        if tensor.shape != wanted[name].shape:
            raise ModelError(
                f"{where} holds the weights of another network: {name!r} is {list(tensor.shape)} instead of "
                f"{list(wanted[name].shape)}; check the encoder and the number of classes"
            )
    try:
        module.load_state_dict(given, strict=False)
    except (RuntimeError, TypeError) as error:  # sparse or quantised tensors, or none behind the name
        reason = str(error).strip().splitlines()[-1].strip()
        raise ModelError(f"{where} holds tensors that cannot be loaded ({reason}); save plain ones") from error
