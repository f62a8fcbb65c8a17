"""`segstream record`: a source in, files out."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from segstream.cli import console
from segstream.cli.options import (
    POSITIVE,
    QUALITY,
    Command,
    Words,
    common_options,
    compute_options,
    make_settings,
    option,
    overwrite_option,
    progress_option,
    source_option,
    source_options,
    view_options,
)
from segstream.errors import UsageError

if TYPE_CHECKING:
    from segstream.pipeline import Pipeline
    from segstream.recording import RecordSummary

_EXAMPLES = """
Examples:
  segstream record -s drive.mp4 -o out.mp4                      # the overlay, with the source's timestamps and sound
  segstream record -s demo -o demo.mp4 --legend --stats         # try it without a video of your own
  segstream record -s drive.mp4 --save-masks masks              # class masks as palette PNGs, one a frame
  segstream record -s drive.mp4 --save-jsonl drive.jsonl        # blocks, class shares and timings, one line a frame
  segstream record -s drive.mp4 -o out.mp4 --budget 0.3         # at most 30 % of the blocks at high resolution
  segstream record -s 'photos/*.jpg' -o photos.mp4              # a folder of images
  segstream record -s rtsp://camera/stream -o cam.mkv --end 60  # a minute of a network camera
"""


@click.command(cls=Command, name="record", epilog=_EXAMPLES)
@source_option("What to read: a video or image file, a folder, a 'glob', a camera (0), a URL (rtsp, http), or demo.")
@option("-o", "--output", metavar="OUT", group="Output", help="The video to write: .mp4, .mov, .mkv or .webm.")
@option("--save-masks", metavar="DIR", group="Output", help="Write a palette PNG of the classes for every frame.")
@option("--save-jsonl", metavar="FILE", group="Output", help="Write a line of JSON for every frame.")
@option(
    "--rle", is_flag=True, group="Output", help="Put the masks into the JSON lines too, in COCO's run-length encoding."
)
@option(
    "--codec",
    type=Words(["auto", "h264", "hevc", "vp9", "av1", "ffv1"]),
    default="auto",
    show_default=True,
    group="Output",
    help="Video codec; auto takes what fits the file name.",
)
@option(
    "--crf",
    type=QUALITY,
    metavar="N",
    group="Output",
    help="Quality: smaller is better and larger files.",
)
@option(
    "--audio",
    type=Words(["copy", "transcode", "none"]),
    default="copy",
    show_default=True,
    group="Output",
    help="What happens to the sound.",
)
@option(
    "--on-resize",
    type=Words(["letterbox", "split"]),
    default="letterbox",
    show_default=True,
    group="Output",
    help="When the source changes its size: fit it into the first one, or start a new file.",
)
@overwrite_option
@option(
    "--segment",
    "segment_seconds",
    type=POSITIVE,
    metavar="S",
    group="Output",
    help="Start a new file every S seconds.",
)
@option(
    "--keep-mb",
    type=POSITIVE,
    metavar="N",
    group="Output",
    help="With --segment, remove the oldest files when all together exceed N MB.",
)
@source_options
@compute_options
@view_options
@progress_option
@common_options
def command(**values: Any) -> int:
    """Segment a source and write the result to files.

    Everything that was written stays readable when it is interrupted (Ctrl-C) or fails. With several sources the
    outputs are folders.
    """
    from segstream.cli.progress import progress
    from segstream.pipeline import stop_on_signals
    from segstream.recording import abandon, open_lanes, record_lanes

    out, masks, lines = values.pop("output"), values.pop("save_masks"), values.pop("save_jsonl")
    keep_mb = values.pop("keep_mb")
    settings = make_settings(values)
    if not settings.sources:
        raise UsageError("no source was given; add -s FILE, -s 0 for a camera, or -s demo to try it out")
    if out is None and masks is None and lines is None:
        raise UsageError("nothing would be written; add -o OUT.mp4, --save-masks DIR or --save-jsonl FILE")
    # A wrong source or output is told at once, before seconds are spent on the model.
    lanes = open_lanes(
        settings.sources[0] if len(settings.sources) == 1 else list(settings.sources),
        out,
        save_masks=masks,
        save_jsonl=lines,
        keep_bytes=None if keep_mb is None else int(keep_mb * 1e6),
        **_fields(settings.source_options),
        **values,
    )
    try:
        segmenter = settings.make_segmenter()
    except BaseException:
        abandon(lanes)
        raise
    with ExitStack() as stack:
        interruptions = []

        def on_start(pipeline: Pipeline) -> None:
            interruptions.append(stack.enter_context(stop_on_signals(pipeline)))
            stack.enter_context(progress(pipeline, settings.progress))

        summary = record_lanes(
            lanes, segmenter, draw=settings.draw_options(), target_fps=settings.target_fps, on_start=on_start
        )
    report(summary, quiet=settings.quiet or settings.progress == "json")
    return 130 if interruptions and interruptions[0].interrupted else 0


def _fields(options: Any) -> dict[str, Any]:
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


def report(summary: RecordSummary, quiet: bool) -> None:
    """Say what was written, and what was not as asked."""
    for note in summary.notes:
        console.message("note", note)
    for warning in summary.warnings:
        console.message("warning", warning)
    if quiet:
        return
    outputs = ", ".join(str(path) for path in summary.outputs)
    saved = ""
    if summary.dense_gmacs:
        saved = f", {summary.gmacs:.1f} of {summary.dense_gmacs:.1f} GMAC a frame"
    with console.by_the_way(sys.stdout):
        console.out().print(
            f"{summary.frames} frames in {summary.seconds:.1f} s ({summary.fps:.1f} FPS), "
            f"{summary.high_share:.0%} of blocks high{saved}: {outputs}",
            soft_wrap=True,
            markup=False,
        )
