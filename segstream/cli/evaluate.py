"""`segstream eval`: how good a model is, and what it costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from segstream.cli import console
from segstream.cli.options import (
    COUNT,
    SHARE,
    Command,
    Words,
    block_option,
    common_options,
    device_option,
    model_option,
    option,
    overwrite_option,
    progress_option,
    size_option,
)
from segstream.reports import check_report, write_report

if TYPE_CHECKING:
    from segstream.evaluate import EvalReport

_EXAMPLES = """
Examples:
  segstream eval --dataset demo                                # the drawn street, which needs no data
  segstream eval --dataset camvid --data CamVid                # the model's own choice of blocks
  segstream eval --dataset camvid --data CamVid --policy high  # every block at high resolution
  segstream eval --dataset cityscapes --data cityscapes -m my.safetensors --json result.json
"""


@click.command(cls=Command, name="eval", epilog=_EXAMPLES)
@option(
    "--dataset",
    type=Words(["camvid", "cityscapes", "mapillary", "mapillary-v1.2", "mapillary-v2.0", "demo"]),
    required=True,
    group="Data",
    help="The dataset; mapillary takes its newest labels that are there, and demo is the drawn street.",
)
@option("--data", metavar="DIR", group="Data", help="The dataset's folder, laid out as it is distributed.")
@option("--split", metavar="NAME", default="val", show_default=True, group="Data", help="Its split.")
@option("--limit", type=COUNT, group="Data", help="Only N images, spread over the split; its first N with --video.")
@option(
    "--video",
    is_flag=True,
    group="Data",
    help="The images follow one another: each looks back, as in run. For the policies learned and heuristic.",
)
@model_option
@option(
    "--policy",
    metavar="NAME",
    group="Model",
    help="learned, heuristic, random, high, low, or dense for the network without blocks.",
)
@option("--threshold", type=SHARE, group="Model", help="Score above which a block is high.")
@option(
    "--budget",
    type=SHARE,
    default=1.0,
    show_default=True,
    group="Model",
    help="Largest share of blocks that may be high.",
)
@device_option
@size_option
@block_option
@option("--json", "json_file", metavar="FILE", group="Output", help="Write the result as JSON too.")
@overwrite_option
@progress_option
@common_options
def command(**values: Any) -> int:
    """Measure a model on a dataset: mIoU, IoU of every class, GMAC and the share of high blocks.

    Pictures are segmented as in `segstream run`, and compared with the labels at the labels' own size.
    """
    check_report(values["json_file"], values["overwrite"])
    from segstream.cli.progress import counter
    from segstream.evaluate import evaluate
    from segstream.models import DEFAULT_MODEL

    with counter(values["progress"], "images") as count:
        report = evaluate(
            values["model"] or DEFAULT_MODEL,
            values["dataset"],
            values["data"],
            values["split"],
            policy=values["policy"],
            threshold=values["threshold"],
            budget=values["budget"],
            size=values["size"],
            block=None if values["block"] is None else int(values["block"]),
            device=values["device"],
            limit=values["limit"],
            video=values["video"],
            progress=lambda done, total: count("images", done, total),
        )
    write_report(values["json_file"], report.to_json())
    if values["progress"] == "json":
        print(json.dumps({"event": "done", **report.to_json()}))
    else:
        print_report(report)
    return 0


def print_report(report: EvalReport) -> None:
    """Show a report as a table."""
    title = f"{report.model} on {report.dataset} {report.split}, {report.images} images, policy {report.policy}"
    title += ", as a video" if report.video else ""
    table = Table("class", "IoU", title=title, title_justify="left", show_footer=True)
    table.columns[0].footer = "mean"
    table.columns[1].footer = f"{report.miou:.4f}"
    table.columns[1].justify = "right"
    for name, value in report.iou.items():
        table.add_row(escape(name), f"{value:.4f}")
    console.out().print(table)
    console.out().print(
        f"pixel accuracy {report.pixel_accuracy:.4f}, {report.gmacs:.2f} of {report.dense_gmacs:.2f} GMAC an image, "
        f"{report.high_share:.1%} of blocks high",
        soft_wrap=True,
        markup=False,
    )
