"""`segstream run`: watch a source, in a window or in the terminal."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

import click

from segstream.cli import console
from segstream.cli.options import (
    Command,
    common_options,
    compute_options,
    make_settings,
    option,
    progress_option,
    source_option,
    source_options,
    view_options,
    was_given,
)
from segstream.config import Settings
from segstream.errors import DisplayError, UsageError

_EXAMPLES = """
Examples:
  segstream run -s demo                       # watch a drawn street
  segstream run -s drive.mp4                  # watch a video; press ? in the window for the keys
  segstream run -s 0 --cam-size 1280x720      # a camera; `segstream cameras` lists them
  segstream run -s rtsp://camera/stream       # a network camera; it reconnects by itself
  segstream run -s drive.mp4 --target-fps 25  # keep up with 25 FPS by running fewer blocks at high resolution
  segstream run -s demo --headless            # figures in the terminal, no window
"""


@click.command(cls=Command, name="run", epilog=_EXAMPLES)
@source_option("What to watch: a video or image file, a folder, a 'glob', a camera (0), a URL (rtsp, http), or demo.")
@option("--headless", is_flag=True, help="Open no window: show figures in the terminal.")
@source_options
@compute_options
@view_options
@progress_option
@common_options
def command(**values: Any) -> int:
    """Segment a source and watch it.

    A window opens with the picture, its class colours and the blocks that run at high resolution. Without a display
    the figures are shown in the terminal instead. Ctrl-C ends it.
    """
    given = frozenset(name for name in values if was_given(name))
    settings = make_settings(values)
    if not settings.headless:
        try:
            return show_window(settings, given)
        except DisplayError as error:
            if not settings.sources:
                raise
            console.message("note", f"{str(error).rstrip('.')}; going on in the terminal")
    return run_headless(settings)


def show_window(settings: Settings, given: frozenset[str]) -> int:
    """Open the viewer.

    Args:
        settings: what it starts with.
        given: names of the options that the user gave; the viewer remembers the others from the last time.

    Raises:
        DisplayError: if this machine cannot open a window.
    """
    try:
        from segstream.ui import app
    except ImportError as error:
        raise DisplayError(f"the window cannot be opened ({error})") from error
    return int(app.main(settings, given))


def run_headless(settings: Settings) -> int:
    """Run the sources and show figures in the terminal until they end."""
    from segstream.cli.progress import Latest, describe, progress
    from segstream.pipeline import Lane, Pipeline, stop_on_signals
    from segstream.recording import summary
    from segstream.sources import Source, open_source

    if not settings.sources:
        raise UsageError("no source was given; add -s FILE, -s 0 for a camera, or -s demo to try it out")
    sources: list[Source] = []
    try:
        for spec in settings.sources:
            sources.append(open_source(spec, settings.source_options))
        segmenter = settings.make_segmenter()
    except BaseException:
        for source in sources:
            source.close()
        raise
    latest = Latest()
    lanes = [Lane(source) for source in sources]
    pipeline = Pipeline(lanes, segmenter, on_result=latest, target_fps=settings.target_fps)
    with ExitStack() as stack:
        state = stack.enter_context(stop_on_signals(pipeline))
        pipeline.run(lambda _: stack.enter_context(progress(pipeline, settings.progress, latest)))
    for warning in summary(pipeline, lanes).warnings:
        console.message("warning", warning)
    shown = settings.progress == "json" or (settings.progress == "auto" and console.err().is_terminal)
    if not shown and not settings.quiet:
        with console.by_the_way(sys.stdout):
            console.out().print(describe(pipeline.stats()), markup=False)
    return 130 if state.interrupted else 0
