"""`segstream bench`: what the network and the whole pipeline take, dense against SegBlocks."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from segstream.cli import console
from segstream.cli.options import (
    COUNT,
    Command,
    block_option,
    common_options,
    device_option,
    model_option,
    option,
    overwrite_option,
    progress_option,
    size_option,
)
from segstream.errors import UsageError
from segstream.reports import check_report, write_report

_EXAMPLES = """
Examples:
  segstream bench --device cpu --size 1024x512  # SegBlocks against dense torch, ONNX Runtime and OpenVINO
  segstream bench --json bench.json             # the same as JSON
  segstream bench --shares 1,0.5,0              # these shares of high blocks
"""


@click.command(cls=Command, name="bench", epilog=_EXAMPLES)
@model_option
@device_option
@size_option
@block_option
@option(
    "--shares",
    default="1,0.4,0.2,0",
    show_default=True,
    metavar="LIST",
    group="Model",
    help="Shares of high blocks to time.",
)
@option("--rounds", type=COUNT, default=15, show_default=True, metavar="N", help="Times each row is measured.")
@option("--pipeline/--no-pipeline", default=True, help="Time decode to overlay as well (default: yes).")
@option("--json", "json_file", metavar="FILE", group="Output", help="Write the table as JSON too.")
@overwrite_option
@progress_option
@common_options
def command(**values: Any) -> int:
    """Time the network and the whole pipeline on this machine.

    One table from one run: the rows take turns, so that a busy machine slows all of them alike. `ratio` is the
    fastest dense competitor's time over the row's.
    """
    check_report(values["json_file"], values["overwrite"])
    shares = _shares(values["shares"])
    from segstream.bench import run_bench
    from segstream.cli.progress import counter

    chosen = {} if values["model"] is None else {"model": values["model"]}
    with counter(values["progress"], "loading") as count:
        report = run_bench(
            **chosen,
            device=values["device"],
            size=values["size"],
            block=None if values["block"] is None else int(values["block"]),
            shares=shares,
            rounds=values["rounds"],
            pipeline=values["pipeline"],
            progress=count,
        )
    write_report(values["json_file"], report.to_json())
    if values["progress"] == "json":
        print(json.dumps({"event": "done", **report.to_json()}))
    else:
        console.out().print(report.table())
    for note in report.notes:
        console.message("note", note)
    return 0


def _shares(text: object) -> tuple[float, ...]:
    try:
        shares = tuple(float(part) for part in re.sub(r"[][()'\"\s]", "", str(text)).split(","))
    except ValueError:
        shares = ()
    if not shares or not all(0.0 <= share <= 1.0 for share in shares):
        raise UsageError(f"{text!r} are not shares of high blocks; write numbers from 0 to 1 like 1,0.4,0.2,0")
    return shares
