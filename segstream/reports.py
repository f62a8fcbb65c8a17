"""JSON reports of `segstream bench`, `segstream eval` and the tools of training/."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from segstream.errors import OutputError
from segstream.special_files import is_special


def check_report(path: str | None, overwrite: bool) -> None:
    """Make sure, before minutes of work, that a report can be written.

    Raises:
        OutputError: if it cannot.
    """
    if path is None:
        return
    target = Path(path)
    if is_special(target):
        return
    target = Path(os.path.realpath(target))
    if not target.parent.is_dir():
        raise OutputError(f"the folder {target.parent} does not exist; create it or write somewhere else")
    if target.is_dir():
        raise OutputError(f"{target} is a folder; give a file name")
    if target.is_file() and not overwrite:
        raise OutputError(f"{target} exists; choose another name or add --overwrite")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"the folder {target.parent} may not be written to; choose another")


def write_report(path: str | None, content: dict[str, Any] | list[Any]) -> None:
    """Write a report, all of it or nothing.

    Raises:
        OutputError: if it cannot be written.
    """
    if path is None:
        return
    target = Path(path)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    try:
        if is_special(target):
            target.write_text(text, encoding="utf-8")
            return
        target = Path(os.path.realpath(target))  # not the link to it
        working = target.with_name(f".{target.name}.part")
        try:
            working.write_text(text, encoding="utf-8")
            os.replace(working, target)
        finally:
            working.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror}); choose another place") from error
