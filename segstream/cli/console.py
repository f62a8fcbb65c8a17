"""What the commands print: results on stdout, everything else on stderr, and never a password."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from functools import lru_cache

from rich.console import Console
from rich.markup import escape

verbosity = 0  # set by -v and -q: -1 quiet, 0 normal, 1 and more verbose

_CREDENTIALS = re.compile(r"(\w[\w+.-]*://)[^\s/]*@")


def hide_credentials(text: str) -> str:
    """A text without the user names and passwords of the URLs in it."""
    return _CREDENTIALS.sub(r"\1", text)


@lru_cache(maxsize=1)
def _consoles() -> tuple[Console, Console]:
    return Console(highlight=False), Console(stderr=True, highlight=False)


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
        err().print(f"[{style}]{kind}:[/] {escape(hide_credentials(text))}", soft_wrap=True)


def error(text: str, cause: BaseException | None = None) -> None:
    """Print the one sentence that says what went wrong; with -v where it happened as well."""
    if cause is not None and verbosity > 0:
        trace = "".join(traceback.format_exception(cause))
        print(hide_credentials(trace), file=sys.stderr, end="")
    sentence = " ".join(hide_credentials(text).split())
    err().print(f"[bold red]error:[/] {escape(sentence)}", soft_wrap=True)
