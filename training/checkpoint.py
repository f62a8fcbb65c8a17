"""Checkpoints of a running training: written whole or not at all, and read back to go on exactly."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from segstream.errors import ModelError, OutputError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the one before is replaced only once the new one is complete.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write the checkpoint {path} ({error}): free space or choose another --out."
        ) from error


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        ModelError: if there is none or it cannot be read.
    """
    if not path.is_file():
        raise ModelError(f"there is no checkpoint {path} to resume from: leave out --resume, or give the run's --out.")
    try:
        # Only tensors and plain values are read: a checkpoint cannot bring code with it.
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is damaged or not its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"the checkpoint {path} cannot be read ({reason}): use an older one or start anew.") from error
