"""The two functions that people call: `stream` for results as they come, `record` for files."""

from __future__ import annotations

import dataclasses
import difflib
import glob
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segstream.errors import OutputError, SegstreamError, SourceError, UsageError
from segstream.feed import Feed
from segstream.frames import Result
from segstream.pace import BudgetController
from segstream.pipeline import DrawOptions, Lane, Pipeline
from segstream.sinks import JsonlSink, MaskSink, Sink, VideoOptions, VideoSink
from segstream.sources import Source, SourceOptions, open_source
from segstream.sources.spec import Spec, local_path

if TYPE_CHECKING:
    from segstream.segmenter import Segmenter

log = logging.getLogger("segstream")

_SOURCE_FIELDS = {field.name for field in dataclasses.fields(SourceOptions)}
_OUTPUT_OPTIONS = {field.name for field in dataclasses.fields(VideoOptions)} | {"save_masks", "save_jsonl", "rle"}


@dataclass(frozen=True)
class RecordSummary:
    """What a recording came to.

    Attributes:
        outputs: every file and folder written.
        frames: frames written.
        seconds: time it took.
        fps: frames per second.
        high_share: mean share of high-resolution blocks, 0..1.
        gmacs: mean cost of a frame in 1e9 multiply-accumulates.
        dense_gmacs: what the dense network would have cost.
        dropped: frames of live sources passed over.
        warnings: trouble with the sources, one sentence each.
        notes: what was done otherwise than asked, one sentence each.
        interrupted: it was stopped before the end.
    """

    outputs: tuple[Path, ...]
    frames: int
    seconds: float
    fps: float
    high_share: float
    gmacs: float
    dense_gmacs: float
    dropped: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    interrupted: bool = False


def _split(options: dict[str, Any]) -> tuple[SourceOptions, dict[str, Any]]:
    """Options of the source, and the rest, which are the segmenter's."""
    mine = {name: options[name] for name in options if name in _SOURCE_FIELDS}
    return SourceOptions(**mine), {name: value for name, value in options.items() if name not in _SOURCE_FIELDS}


def _segmenter(model: Any, options: dict[str, Any]) -> Segmenter:
    if model is None or isinstance(model, (str, Path)):
        from segstream.segmenter import Segmenter

        return Segmenter(**options) if model is None else Segmenter(model, **options)
    if not callable(model):
        raise UsageError(f"the model must be a Segmenter, or the name or path of a model, not a {type(model).__name__}")
    if options:
        name = min(options)
        near = difflib.get_close_matches(name, _SOURCE_FIELDS | _OUTPUT_OPTIONS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{name!r} is no option of a source, and the segmenter exists already{hint}")
    return model


def stream(spec: Spec, model: Any = None, **options: Any) -> Iterator[Result]:
    """Segment a source frame by frame.

    Reading goes on in the background while the caller works; of a live source the caller gets the newest frame. The
    source is open from the call on; `close()` of what is returned, or dropping it, closes it.

    Args:
        spec: see `segstream.sources.open_source`.
        model: a `Segmenter`, or the name or path of a model.
        options: fields of `SourceOptions` and arguments of `Segmenter`.

    Yields:
        one `Result` per frame.

    Raises:
        SourceError, ModelError, UsageError: before the first result, or when the source is lost.
    """
    source_options, rest = _split(options)
    segmenter = _segmenter(model, rest)
    results = _results(open_source(spec, source_options), segmenter)
    next(results)  # a generator that has not begun closes nothing
    return results


def _results(source: Source, segmenter: Segmenter) -> Iterator[Any]:
    """Nothing once, then one `Result` per frame."""
    wake = threading.Event()
    feed = Feed(source, wake, memory=getattr(segmenter, "frame_memory", None))
    last = None
    try:
        yield None
        feed.start()
        while True:
            wake.clear()
            fed = feed.try_take()
            if fed is not None:
                last = segmenter(fed.frame, last)
                yield last
            elif feed.ended:
                return
            else:
                wake.wait(0.2)
    finally:
        feed.stop()


def record(
    spec: Spec | Sequence[Spec],
    out: str | Path | None = None,
    model: Any = None,
    *,
    draw: DrawOptions | None = None,
    target_fps: float | None = None,
    on_start: Callable[[Pipeline], None] | None = None,
    **options: Any,
) -> RecordSummary:
    """Segment a source into files.

    Args:
        spec, out: see `open_lanes`.
        model: a `Segmenter`, or the name or path of a model.
        draw: how the video is drawn.
        target_fps: see `Pipeline`.
        on_start: called with the running pipeline, to watch or stop it.
        options: those of `open_lanes`, fields of `SourceOptions`, and arguments of `Segmenter`.

    Raises:
        SegstreamError: whatever failed first; outputs are finished and what was written stays readable.
    """
    rest = {name: value for name, value in options.items() if name in _SOURCE_FIELDS or name in _OUTPUT_OPTIONS}
    if target_fps is not None:
        BudgetController(target_fps)  # a value that it refuses is told before anything is opened
    lanes = open_lanes(spec, out, **rest)
    with _abandoned_on_error(lanes):
        segmenter = _segmenter(model, {name: value for name, value in options.items() if name not in rest})
    return record_lanes(lanes, segmenter, draw=draw, target_fps=target_fps, on_start=on_start)


def record_lanes(
    lanes: Sequence[Lane],
    segmenter: Segmenter,
    *,
    draw: DrawOptions | None = None,
    target_fps: float | None = None,
    on_start: Callable[[Pipeline], None] | None = None,
) -> RecordSummary:
    """Segment what `open_lanes` has opened; as `record`, and the lanes are closed whatever happens."""
    with _abandoned_on_error(lanes):
        pipeline = Pipeline(lanes, segmenter, draw=draw, target_fps=target_fps)

    def started(running: Pipeline) -> None:
        if on_start is not None:
            with _abandoned_on_error(lanes):
                on_start(running)

    try:
        pipeline.run(started)
    except SegstreamError:
        # No summary will tell where unfinished files are.
        for note in (note for lane in lanes for sink in lane.sinks for note in sink.notes):
            log.warning("%s", note)
        raise
    found = summary(pipeline, lanes)
    if not found.frames and not pipeline.stopped:
        trouble = "; ".join(found.warnings) or "its part that was asked for holds none"
        names = ", ".join(lane.source.info.name for lane in lanes)
        raise SourceError(f"no frame came from {names}, so nothing was written ({trouble}); give another part of it")
    return found


def open_lanes(
    spec: Spec | Sequence[Spec],
    out: str | Path | None,
    *,
    audio: str = "copy",
    codec: str = "auto",
    crf: int | None = None,
    overwrite: bool = False,
    on_resize: str = "letterbox",
    segment_seconds: float | None = None,
    keep_bytes: int | None = None,
    save_masks: str | Path | None = None,
    save_jsonl: str | Path | None = None,
    rle: bool = False,
    **options: Any,
) -> list[Lane]:
    """Open sources and outputs, so that whatever is wrong with them is told before a model is loaded.

    Args:
        spec: see `segstream.sources.open_source`; with a list of them (strings), `out`, `save_masks` and `save_jsonl`
            are folders and each source gets its own files there.
        out: the annotated video (.mp4, .mkv, .webm, .mov), or None for none.
        audio, codec, crf, overwrite, on_resize, segment_seconds, keep_bytes: see `VideoOptions`.
        save_masks: folder for one palette PNG per frame.
        save_jsonl: file for one JSON line per frame; with `rle` its masks in COCO's encoding too.
        options: fields of `SourceOptions`.

    Raises:
        SegstreamError: a source or an output that cannot be used, or an output that is a source; nothing stays open,
            nothing is left behind.
    """
    if out is None and save_masks is None and save_jsonl is None:
        raise UsageError("there is nothing to write; give an output video, a folder for masks or a file for JSON lines")
    if isinstance(spec, (str, os.PathLike)):
        outputs = {"the video": out, "the folder of masks": save_masks, "the JSON lines": save_jsonl}
        places = [(os.path.realpath(path), what, path) for what, path in outputs.items() if path is not None]
        for (one, first, path), (other, second, _) in combinations(places, 2):
            if one == other:
                raise UsageError(f"{path} cannot be {first} and {second} at once; give two names")
    video = VideoOptions(
        codec=codec,
        crf=crf,
        audio=audio,
        overwrite=overwrite,
        on_resize=on_resize,
        segment_seconds=segment_seconds,
        keep_bytes=keep_bytes,
    )
    idle = []
    if save_jsonl is None and rle:
        idle.append("rle is for save_jsonl, so no masks are written as text")
    if out is None and (codec != "auto" or crf is not None or segment_seconds is not None):
        idle.append("codec, crf and segments are for a video, and none is written")
    source_options = SourceOptions(**options)
    specs: list[Any] = list(spec) if isinstance(spec, (list, tuple)) else [spec]
    lanes: list[Lane] = []
    names: set[str] = set()
    inputs = [path for one in specs for path in _files_of(one)]
    with _abandoned_on_error(lanes):
        for one in specs:
            source = open_source(one, source_options)
            sinks: list[Sink] = []
            lanes.append(Lane(source, sinks))
            targets = (out, save_masks, save_jsonl)
            if len(specs) > 1:
                targets = _targets_of(source, targets, names)
            _refuse_inputs(targets, inputs, parts=segment_seconds is not None or on_resize == "split")
            if targets[0] is not None:
                sinks.append(VideoSink(targets[0], source, video))
            if targets[1] is not None:
                sinks.append(MaskSink(targets[1], overwrite))
            if targets[2] is not None:
                sinks.append(JsonlSink(targets[2], overwrite, rle))
        lanes[0].sinks[0].notes.extend(idle)
    return lanes


@contextmanager
def _abandoned_on_error(lanes: Sequence[Lane]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        abandon(lanes)
        raise


def abandon(lanes: Sequence[Lane]) -> None:
    """Close lanes that never ran."""
    for lane in lanes:
        for sink in lane.sinks:
            sink.abort()
        lane.source.close()


def _files_of(spec: Any) -> list[Path]:
    """Files that a source reads, as far as it reads files."""
    if isinstance(spec, (list, tuple)):
        return [path for one in spec for path in _files_of(one)]
    if not isinstance(spec, (str, os.PathLike)):
        return []
    place = local_path(spec) if isinstance(spec, str) else os.fspath(spec)
    path = Path(place)
    try:
        if path.is_dir():
            return list(path.iterdir())
        return [path] if path.exists() else [Path(found) for found in glob.glob(place, recursive=True)]
    except (OSError, ValueError):  # a URL, or a name that no file can have
        return []


def _refuse_inputs(targets: tuple[Any, ...], inputs: Sequence[Path], parts: bool) -> None:
    """Never write onto what is read, by whatever name it goes, nor masks onto the images they are made of.

    Args:
        targets: video, folder of masks and JSON lines, or None.
        inputs: files that are read.
        parts: whether the video may go into several files, NAME-000 and so on.
    """
    video, masks, lines = (None if target is None else Path(target) for target in targets)
    for target in (video, lines):
        if target is not None and os.path.exists(target) and any(_same(target, path) for path in inputs):
            raise OutputError(f"{target} is a source of this recording and stays as it is; choose another name")
    if video is not None and parts:
        part = re.compile(re.escape(video.stem) + r"-\d{3,}" + re.escape(video.suffix))
        # A link is as good as the part that it leads to.
        names = [*inputs, *(Path(os.path.realpath(path)) for path in inputs)]
        for path in names:
            if part.fullmatch(path.name) and _same(path.parent, video.parent):
                raise OutputError(f"{path} is a source, and a part of {video} would have its name; choose another name")
    folders = {path.parent for path in inputs if path.suffix.lower() == ".png"}
    if masks is not None and any(_same(masks, folder) for folder in folders):
        raise OutputError(f"{masks} holds images that are read; choose another folder for the masks")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return False


def _targets_of(source: Source, targets: tuple[Any, ...], used: set[str]) -> tuple[Any, ...]:
    """Files of one source among several: named after it, inside the folders given."""
    stem = re.sub(r"[^\w.-]+", "_", Path(source.info.name).stem).strip("._") or "source"
    name, number = stem, 2
    while name in used:
        name, number = f"{stem}-{number}", number + 1
    used.add(name)
    made: list[Path | None] = []
    for target, suffix in zip(targets, (".mp4", "", ".jsonl"), strict=True):
        if target is None:
            made.append(None)
            continue
        folder = Path(target)
        if not folder.is_dir():
            raise OutputError(f"{folder} must be a folder that exists, because there are several sources")
        made.append(folder / (name + suffix))
    return tuple(made)


def summary(pipeline: Pipeline, lanes: Sequence[Lane]) -> RecordSummary:
    """What a pipeline that has ended came to."""
    stats = pipeline.stats()
    outputs: list[Path] = []
    notes: list[str] = []
    warnings: list[str] = []
    for lane in lanes:
        for sink in lane.sinks:
            outputs.extend(sink.outputs if isinstance(sink, VideoSink) else [sink.path])
            notes.extend(sink.notes)
        trouble = lane.source.warnings.summary()
        if trouble:
            warnings.append(f"{lane.source.info.name}: {trouble}")
    return RecordSummary(
        outputs=tuple(outputs),
        frames=stats.frames,
        seconds=stats.elapsed_s,
        fps=stats.mean_fps,
        high_share=stats.mean_high_share,
        gmacs=stats.gmacs,
        dense_gmacs=stats.dense_gmacs,
        dropped=stats.dropped,
        warnings=tuple(warnings),
        notes=tuple(notes),
        interrupted=pipeline.stopped,
    )
