"""`segstream cameras`: which cameras there are."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from segstream.cli import console
from segstream.cli.options import Command, common_options


@click.command(cls=Command, name="cameras")
@common_options
def command(**values: Any) -> int:
    """List the cameras of this machine with their sizes and rates.

    Use a name with -s, and a size and rate with --cam-size and --cam-fps.
    """
    from segstream.sources import list_cameras

    cameras = list_cameras()
    if not cameras:
        console.out().print("no camera found; plug one in, or check that you may read /dev/video*", soft_wrap=True)
        return 0
    table = Table("-s", "camera", "sizes and rates")
    for camera in cameras:
        table.add_row(camera.name, camera.description, ", ".join(camera.modes) or "not told by the system")
    console.out().print(table)
    return 0
