"""The `segstream` command: finds the command asked for, and turns every failure into one sentence and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import FrameType
from typing import Any

import click

import segstream
from segstream.cli import console
from segstream.errors import OutputError, SegstreamError

INTERRUPTED = 130
# Each command is a function of that name in a module of segstream.cli; loaded when it is asked for, because torch,
# PyAV and Qt take their time.
_COMMANDS = {
    "run": "watch a source in a window, or in the terminal without a display",
    "record": "write the overlay, masks and statistics to files",
    "bench": "time the network and the whole pipeline, dense against SegBlocks",
    "eval": "measure mIoU, GMAC and the share of high blocks on a dataset",
    "models": "list the models, import others",
    "cameras": "list the cameras with their sizes and rates",
    "doctor": "show what this machine has and what is missing, with the fix",
}


class _ReaderLeft(Exception):
    """The reader of our output has gone, as in `segstream models | head -1`; that is no error."""


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """Get a BrokenPipeError past click, which would end the program with code 1."""
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderLeft from error


class _Lazy(click.Group):
    """A group that imports a command's module when it is run, and lists commands without importing any."""

    def make_context(self, *arguments: Any, **keywords: Any) -> click.Context:
        with _reader_may_leave():
            return super().make_context(*arguments, **keywords)

    def invoke(self, ctx: click.Context) -> Any:
        with _reader_may_leave():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return load_command(name) if name in _COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))
        with formatter.section("Try"):
            formatter.write_dl(
                [
                    ("segstream run -s demo", "watch a drawn street being segmented"),
                    ("segstream record -s drive.mp4 -o out.mp4", "segment a video of your own"),
                    ("segstream COMMAND --help", "all options of a command, with examples"),
                ]
            )


def settle_threads() -> None:
    """Let the network's threads sleep soon when they wait for one another. To be called before torch is loaded.

    GNU OpenMP waits by spinning for several milliseconds. That takes a processor from decoding and encoding, and where
    other programs run too it makes everything many times slower.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def load_command(name: str) -> click.Command:
    module = importlib.import_module(f"segstream.cli.{'evaluate' if name == 'eval' else name}")
    return module.command  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def option_names() -> frozenset[str]:
    """Names of the options of all commands, which a configuration file may use."""
    from segstream.cli.options import name_in_config

    commands = [load_command(name) for name in _COMMANDS]
    commands += [sub for command in commands if isinstance(command, click.Group) for sub in command.commands.values()]
    options = [p for command in commands for p in command.params if isinstance(p, click.Option)]
    # What decides how much is printed is asked for before a file is read.
    return frozenset(map(name_in_config, options)) - {"config", "verbose", "quiet"}


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(segstream.__version__, prog_name="segstream", message="%(prog)s %(version)s")
def cli() -> None:
    """Segment road video in real time: the network looks closely where the picture is complex, and only there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None for those of the process.

    Returns:
        0 done, 1 internal error, 2 usage, 3 source, 4 output, 130 interrupted.
    """
    console.reset()
    console.set_verbosity(0)
    settle_threads()
    with _interrupted_by_sigterm():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(None if arguments is None else list(arguments), prog_name="segstream", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except click.ClickException as error:
        console.error(_usage_sentence(error))
        return 2
    except (KeyboardInterrupt, click.Abort):
        console.message("note", "interrupted")
        return INTERRUPTED
    except SegstreamError as error:
        console.error(str(error), error)
        return error.exit_code
    except (BrokenPipeError, _ReaderLeft):
        console.discard(sys.stdout)
        return 0
    except MemoryError as error:
        console.error("there is not enough memory; use a smaller --size or a smaller source", error)
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            console.discard(sys.stdout)
            console.error("the output cannot be written, for its disk is full; make room or write elsewhere", error)
            return OutputError.exit_code
        console.error(
            f"internal error ({type(error).__name__}: {error}); run it again with -v and report what it prints", error
        )
        return 1


def _usage_sentence(error: click.ClickException) -> str:
    """Click's message as one sentence that says where help is."""
    text = error.format_message().strip().rstrip(".")
    text = text[:1].lower() + text[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{text}; see `{context.command_path if context else 'segstream'} --help`"


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that outputs are finished; only possible in the main thread."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
