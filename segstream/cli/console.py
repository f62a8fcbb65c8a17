"""What the commands print: results on stdout, everything else on stderr, and never a password."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TextIO

from rich.console import Console
from rich.markup import escape

verbosity = 0  # set by -v and -q: -1 quiet, 0 normal, 1 and more verbose

_CREDENTIALS = re.compile(r"(\w[\w+.-]*://)[^\s/]*@")


def hide_credentials(text: str) -> str:
    """A text without the user names and passwords of the URLs in it."""
    return _CREDENTIALS.sub(r"\1", text)


class _Console(Console):
    """Rich's, but a reader that has left ends nothing by itself: whoever prints decides."""

    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError that this is called for


@lru_cache(maxsize=1)
def _consoles() -> tuple[Console, Console]:
    return _Console(highlight=False), _Console(stderr=True, highlight=False)


def discard(stream: TextIO) -> None:
    """Let what is still to be written to stdout or stderr go nowhere: its reader has left, or its disk is full."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


@contextmanager
def by_the_way(stream: TextIO, errors: type[OSError] = OSError) -> Iterator[None]:
    """For what is printed on stdout or stderr beside the work: if it cannot be, the work goes on without it."""
    try:
        yield
    except errors:
        discard(stream)


def out() -> Console:
    """The console for results."""
    return _consoles()[0]


def err() -> Console:
    """The console for messages and progress."""
    return _consoles()[1]


def reset() -> None:
    """Forget the consoles, because stdout and stderr have been replaced, and the verbosity."""
    global verbosity
    verbosity = 0
    _consoles.cache_clear()


def set_verbosity(level: int) -> None:
    """Let the package's own log through according to -v and -q."""
    global verbosity
    verbosity = level
    log = logging.getLogger("segstream")
    log.setLevel({-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(level, logging.DEBUG))
    log.handlers = [_Handler()]
    log.propagate = False


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        message("note" if record.levelno < logging.WARNING else "warning", record.getMessage())


def message(kind: str, text: str) -> None:
    """Print a line such as `warning: ...` on stderr, unless -q was given."""
    if verbosity >= 0:
        style = {"warning": "yellow", "note": "cyan"}.get(kind, "bold red")
        with by_the_way(sys.stderr):
            err().print(f"[{style}]{kind}:[/] {escape(hide_credentials(text))}", soft_wrap=True)


def error(text: str, cause: BaseException | None = None) -> None:
    """Print the one sentence that says what went wrong; with -v where it happened as well."""
    sentence = " ".join(hide_credentials(text).split())
    with by_the_way(sys.stderr):
        if cause is not None and verbosity > 0:
            trace = "".join(traceback.format_exception(cause))
            print(hide_credentials(trace), file=sys.stderr, end="")
        err().print(f"[bold red]error:[/] {escape(sentence)}", soft_wrap=True)
