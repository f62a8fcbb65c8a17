"""Files of a training, written whole or not at all; checkpoints, read back to go on exactly."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from segstream.errors import ModelError, OutputError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the one before is replaced only once the new one is complete.

    Raises:
        OutputError: if it cannot be written.
    """
    replace_file(path, "the checkpoint", lambda file: torch.save(state, file))


def make_folder(folder: Path) -> None:
    """Make a folder to write to.

    Raises:
        OutputError: if that cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder} ({error}): choose another --out.") from error


def replace_file(path: Path, what: str, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a file and put it in the place of `path` once it is complete.

    Raises:
        OutputError: if it cannot be written; it names `what` it is.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)  # made for the owner alone
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        reason = error if isinstance(error, OSError) else error.__context__
        if not isinstance(reason, OSError):
            raise
        # torch.save makes what a full disk raises into an error of its own about the file's inside.
        raise OutputError(f"cannot write {what} {path} ({reason}): free space or choose another --out.") from error


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
