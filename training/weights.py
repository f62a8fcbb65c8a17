"""ImageNet weights for an encoder, from a file under torchvision's names that the user has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from segstream.errors import ModelError
from segstream.models import SwiftNet


def load_encoder(network: SwiftNet, path: str | Path) -> None:
    """Fill a network's encoder; the classifier in the file is left out.

    Raises:
        ModelError: if the file cannot be read or holds another encoder.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no file {path} with encoder weights: give one saved under torchvision's names.")
    tensors: dict[str, Any]
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds for a damaged file
        raise ModelError(f"the encoder weights {path} cannot be read ({error}): give a state dict.") from error
    tensors = dict(tensors.get("state_dict", tensors))  # type: ignore[arg-type]
    wanted = network.encoder.state_dict()
    kept = {key: value for key, value in tensors.items() if key in wanted}
    missing = [key for key in wanted if key not in kept and not key.endswith("num_batches_tracked")]
    wrong = [key for key, value in kept.items() if value.shape != wanted[key].shape]
    if missing or wrong:
        raise ModelError(
            f"{path} holds no weights of this encoder: {(missing or wrong)[0]} is missing or of another shape "
            f"({len(missing)} missing, {len(wrong)} of another shape); the names expected are torchvision's."
        )
    network.encoder.load_state_dict(kept, strict=False)
