"""Settings from one start to the next: a JSON file in the user's configuration folder."""

from __future__ import annotations

import json
import os
import sys
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
    """Keep the settings; returns a sentence when they cannot be kept, which is no reason to stop."""
    path = (folder or config_dir()) / _NAME
    values = {**asdict(settings), "hidden": sorted(settings.hidden)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{_NAME}.{os.getpid()}")
        new.write_text(json.dumps(values, indent=1), encoding="utf-8")
        new.replace(path)
    except OSError as error:
        return f"The settings could not be kept in {path} ({error.strerror}); check that the folder can be written."
    return None
