"""What is shown while a pipeline runs: a bar, a live table, lines for a log, or JSON for a program."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from segstream.cli import console
from segstream.frames import Result

if TYPE_CHECKING:  # they need PyAV, which `segstream bench` and `segstream eval` do without
    from segstream.pipeline import Pipeline
    from segstream.stats import PipelineStats

_EVERY = 0.2  # seconds between two looks at the pipeline
_LINE_EVERY = 10.0  # seconds between two lines of a log
_JSON_EVERY = 1.0

Show = Callable[["PipelineStats"], None]


@contextmanager
def progress(pipeline: Pipeline, mode: str, latest: Latest | None = None) -> Iterator[None]:
    """Show how a pipeline gets on, until the block is left.

    Args:
        pipeline: a running pipeline.
        mode: "auto" (a bar in a terminal, else a line now and then), "json" or "off".
        latest: the newest result; with it, a terminal shows a table of figures instead of a bar.
    """
    if mode == "off" or (mode == "auto" and console.verbosity < 0):
        yield
        return
    if mode == "json":
        with _polled(pipeline, _print_json, _JSON_EVERY):
            yield
        print_json("done", pipeline.stats())
    elif not console.err().is_terminal:
        with _polled(pipeline, _print_line, _LINE_EVERY):
            yield
    elif latest is not None:
        with Live(console=console.err(), refresh_per_second=8, transient=False) as live:
            with _polled(pipeline, lambda stats: live.update(live_view(stats, latest.result)), _EVERY):
                yield
            live.update(live_view(pipeline.stats(), latest.result))
    else:
        bar, show = _bar(console.err())
        with bar, _polled(pipeline, show, _EVERY):
            yield
        show(pipeline.stats())


class Latest:
    """Holds the newest result for those who look now and then."""

    result: Result | None = None

    def __call__(self, result: Result, picture: object, lane: int) -> None:
        self.result = result


@contextmanager
def _polled(pipeline: Pipeline, show: Show, every: float) -> Iterator[None]:
    """Call `show` with the pipeline's figures from a thread of its own."""
    end = threading.Event()

    def poll() -> None:
        while not end.wait(every):
            show(pipeline.stats())

    thread = threading.Thread(target=poll, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def print_json(event: str, stats: PipelineStats) -> None:
    """Print one line of JSON on stdout, while somebody reads it."""
    line = {
        "event": event,
        "frames": stats.frames,
        "total_frames": _total(stats),
        "seconds": round(stats.elapsed_s, 3),
        "fps": round(stats.fps if event == "progress" else stats.mean_fps, 2),
        "high_share": round(stats.mean_high_share, 4),
        "gmacs": round(stats.gmacs, 3),
        "dense_gmacs": round(stats.dense_gmacs, 3),
        "dropped": stats.dropped,
        "latency_ms": round(stats.latency_ms, 1),
        "target_fps": stats.target_fps,
        "budget": None if stats.budget is None else round(stats.budget, 4),
        "ms": {name: round(value, 2) for name, value in stats.stage_ms.items()},
        "progress": None if stats.progress is None else round(stats.progress, 4),
        "eta_s": None if stats.eta_s is None else round(stats.eta_s, 1),
        "sources": [
            {
                "name": lane.name,
                "state": lane.state,
                "frames": lane.frames,
                "dropped": lane.dropped,
                "reconnects": lane.reconnects,
                "errors": lane.errors,
            }
            for lane in stats.lanes
        ],
    }
    with console.by_the_way(sys.stdout):
        print(console.hide_credentials(json.dumps(line)), flush=True)


def _print_json(stats: PipelineStats) -> None:
    print_json("progress", stats)


def _print_line(stats: PipelineStats) -> None:
    with console.by_the_way(sys.stderr):
        print(describe(stats), file=sys.stderr, flush=True)


def _total(stats: PipelineStats) -> int | None:
    totals = [lane.total_frames for lane in stats.lanes]
    return None if not totals or None in totals else sum(total or 0 for total in totals)


def describe(stats: PipelineStats) -> str:
    """The state of a pipeline in one line."""
    total = _total(stats)
    parts = [f"frame {stats.frames}" + (f" of {total}" if total else "")]
    parts.append(f"{stats.fps:.1f} FPS" + (f" ({stats.target_fps:g} wanted)" if stats.target_fps else ""))
    parts.append(f"{stats.high_share:.0%} high{limit(stats)}")
    if stats.dropped:
        parts.append(f"{stats.dropped} dropped")
    if stats.eta_s is not None:
        parts.append(f"{clock(stats.eta_s)} left")
    for lane in stats.lanes:
        if lane.state not in ("connected", "ended", "closed"):
            parts.append(f"{lane.name}: {lane.state}")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """A duration as 9 s, 2:05 or 1:02:05."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _bar(target: Console) -> tuple[Progress, Show]:
    """A progress bar, and what brings it up to date."""
    bar = Progress(
        SpinnerColumn(),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[text]}"),
        console=target,
        expand=True,
        refresh_per_second=8,
    )
    task: TaskID = bar.add_task("", total=None, text="starting")

    def show(stats: PipelineStats) -> None:
        bar.update(task, completed=stats.frames, total=_total(stats), text=describe(stats))

    return bar, show


def live_view(stats: PipelineStats, result: Result | None) -> Group:
    """The table that `segstream run` shows in a terminal."""
    figures = Table.grid(padding=(0, 2))
    for lane in stats.lanes:
        where = "" if lane.pts_seconds is None else f"at {clock(lane.pts_seconds)}"
        if lane.duration:
            where += f" of {clock(lane.duration)}"
        colour = {"connected": "green", "ended": "cyan", "closed": "cyan"}.get(lane.state, "yellow")
        figures.add_row("source", Text.assemble(lane.name, "  ", (lane.state, colour), f"  {where}"))
    figures.add_row("frames", f"{stats.frames}" + (f" of {_total(stats)}" if _total(stats) else ""))
    figures.add_row("speed", f"{stats.fps:.1f} FPS" + (f", {stats.target_fps:g} wanted" if stats.target_fps else ""))
    figures.add_row("high blocks", meter(stats.high_share) + limit(stats))
    if stats.dense_gmacs:
        figures.add_row("work", f"{stats.gmacs:.1f} of {stats.dense_gmacs:.1f} GMAC a frame")
    stages = "  ".join(f"{name} {value:.1f}" for name, value in stats.stage_ms.items())
    figures.add_row("ms a frame", stages)
    if any(lane.duration is None for lane in stats.lanes):
        figures.add_row("latency", f"{stats.latency_ms:.0f} ms, at most {stats.latency_max_ms:.0f}")
    if stats.dropped:
        figures.add_row("dropped", f"{stats.dropped} older frames")
    if result is None:
        return Group(figures)
    figures.add_row("engine", f"{result.engine}, {result.model}, policy {result.policy}")
    classes = Table.grid(padding=(0, 2))
    shares = sorted(result.class_shares().items(), key=lambda item: -item[1])
    colours = dict(zip(result.classes, result.palette.tolist(), strict=False))
    for name, share in shares[:8]:
        r, g, b = colours[name]
        classes.add_row(name, Text("█" * max(1, round(share * 40)), style=f"rgb({r},{g},{b})"), f"{share:.0%}")
    return Group(figures, Text(), classes)


def meter(share: float, width: int = 20) -> str:
    """A share as a bar of characters and a percentage."""
    full = round(min(1.0, max(0.0, share)) * width)
    return "█" * full + "░" * (width - full) + f" {share:.0%}"


def limit(stats: PipelineStats) -> str:
    return f", budget {stats.budget:.0%}" if stats.budget is not None and stats.budget < 1 else ""


@contextmanager
def counter(mode: str, what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show how many of some things are done; gives a function that takes what is done now, and how many of how many."""
    shown = mode == "auto" and console.verbosity >= 0 and console.err().is_terminal
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console.err(),
        disable=not shown,
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=None)

        def show(now: str, done: int, total: int) -> None:
            bar.update(task, description=now, completed=done, total=total)
            if mode == "json":
                with console.by_the_way(sys.stdout, BrokenPipeError):  # a full disk would lose the result too
                    print(json.dumps({"event": "progress", "what": now, "done": done, "total": total}), flush=True)

        yield show
