"""What every sink does, and how an output file comes into being without harming the one that was there."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segstream.errors import OutputError
from segstream.frames import Result
from segstream.special_files import is_special


class Sink(ABC):
    """Takes results one after the other.

    Attributes:
        path: the file or folder the user asked for.
        notes: what the user should know: another encoder than asked for, sound that could not be kept.
        needs_picture: `write` uses the drawn picture.
    """

    path: Path
    needs_picture = False

    def __init__(self) -> None:
        self.notes: list[str] = []

    @abstractmethod
    def write(self, result: Result, picture: NDArray[np.uint8] | None) -> None:
        """Write one result; `picture` is uint8 [H, W, 3] RGB where `needs_picture` is set.

        Raises:
            OutputError: it cannot be written: disk full, folder gone.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish the output. What was written before an error stays readable."""

    def abort(self) -> None:
        """Finish after an error: as `close`, but never replaces a file that was there."""
        self.close()


class OutputFile:
    """A file that grows under its own name if nothing was there, and under a temporary name beside it if so.

    Whatever happens, afterwards there is either the old file or a new one, complete or up to the failure.

    Attributes:
        path: the name the user asked for.
        working: the name to write to, from `claim` on.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool) -> None:
        self.path = self.working = Path(path)
        self._special = is_special(self.path)
        self._replaces = False
        try:
            # What a link leads to is written and replaced, not the link.
            self._real = self.path if self._special else Path(os.path.realpath(self.path))
            self._check(overwrite)
        except (OSError, ValueError) as error:  # the second of a name with a zero byte
            if isinstance(error, OutputError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{self.path} cannot be written ({reason}); choose another name") from error

    def _check(self, overwrite: bool) -> None:
        if self._special:
            return
        folder = self._real.parent
        if not folder.is_dir():
            raise OutputError(f"the folder {folder} does not exist; create it or write somewhere else")
        if self._real.is_dir():
            raise OutputError(f"{self.path} is a folder; give a file name")
        if self._real.exists():
            if not overwrite:
                raise OutputError(f"{self.path} exists; choose another name or allow overwriting (--overwrite)")
            self._replaces = True
        if not os.access(folder, os.W_OK):
            raise OutputError(f"the folder {folder} may not be written to; choose another")

    def claim(self) -> None:
        """Choose `working` and make that file, empty: to be called just before it is opened.

        Raises:
            OutputError: another recording has begun it since the check, or it cannot be made.
        """
        if self._special:
            return  # it is there
        while True:
            self.working = _free_name(self._real) if self._replaces else self._real
            try:
                os.close(os.open(self.working, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
                return
            except FileExistsError:
                if not self._replaces:
                    text = f"{self.path} has just been begun by another recording; choose another name"
                    raise OutputError(text) from None
            except OSError as error:
                raise output_error(self.path, error) from error

    def commit(self) -> None:
        """Put the finished file in its place."""
        if self._replaces:
            try:
                os.replace(self.working, self._real)
            except OSError as error:
                raise output_error(self.path, error) from error
            self._replaces = False

    def discard_if_empty(self) -> None:
        """Remove what this left behind if nothing was written into it."""
        try:
            if self.working.is_file() and not self.working.stat().st_size:
                self.working.unlink()
        except OSError:
            pass  # it is in nobody's way

    def leave(self, notes: list[str]) -> None:
        """After a failure: the old file stays. Adds a note where the unfinished new one is, if there is one."""
        if self._replaces and self.working.exists():
            notes.append(f"the old {self.path.name} is untouched, the new one is {self.working}")


def _free_name(path: Path) -> Path:
    """A name beside `path` that no file has: one may be what an earlier crash has left."""
    number = 1
    while True:
        name = path.with_name(f"{path.stem}.part{number if number > 1 else ''}{path.suffix}")
        if not name.exists():
            return name
        number += 1


def output_error(path: Path, error: BaseException) -> OutputError:
    """The sentence for a failed write."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return OutputError(f"{path} cannot be written any further ({reason}); what was written before is kept")
