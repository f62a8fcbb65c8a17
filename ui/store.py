"""Settings from one start to the next: a JSON file in the user's configuration folder."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from segstream.errors import UsageError
from segstream.ui.state import Settings

_NAME = "viewer.json"
_LARGEST = 1_000_000  # bytes; more than any settings need


def config_dir() -> Path:
    """Where programs keep their settings on this system."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "segstream"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "segstream"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "segstream"


def load(folder: Path | None = None) -> Settings:
    """The settings of the last time. What cannot be read or is no longer allowed falls back to its default."""
    path = (folder or config_dir()) / _NAME
    settings = Settings()
    try:
        if path.stat().st_size > _LARGEST:
            return settings
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return settings
    for name, value in values.items() if isinstance(values, dict) else ():
        try:
            settings = settings.changed(**{name: value})
        except UsageError:
            continue
    return settings


def save(settings: Settings, folder: Path | None = None) -> str | None:
    """Keep the settings; returns a sentence when they cannot be kept, which is no reason to stop.

    Recent addresses keep their passwords, without which a camera could not be opened again. So the file is its owner's
    alone from its first moment on.
    """
    path = (folder or config_dir()) / _NAME
    values = {**asdict(settings), "hidden": sorted(settings.hidden)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, new = tempfile.mkstemp(prefix=f"{_NAME}.", dir=path.parent)  # mode 0600 whatever the umask
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(values, file, indent=1)
            os.replace(new, path)
        except BaseException:
            os.unlink(new)
            raise
    except OSError as error:
        return f"The settings could not be kept in {path} ({error.strerror}); check that the folder can be written."
    return None
