"""`segstream models`: which models there are; `segstream models import`: take over others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from segstream.cli import console
from segstream.cli.options import Command, common_options, option, overwrite_option
from segstream.errors import UsageError
from segstream.reports import check_report

_ENCODERS = ["resnet18", "resnet50", "efficientnet-lite1"]
_EXAMPLES = """
Examples:
  segstream models import swiftnet_rn18_t0.4.pth -o rn18.safetensors --encoder resnet18
  segstream record -s drive.mp4 -o out.mp4 -m rn18.safetensors
"""


class _Group(Command, click.Group):
    """A group whose help text is that of a command with sub-commands."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        Command.format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=_Group, name="models", invoke_without_command=True)
@common_options
@click.pass_context
def command(ctx: click.Context, **values: Any) -> int:
    """List the models: name, classes, mIoU, GMAC, licence of the data, where the file is."""
    if ctx.invoked_subcommand is None:
        list_models()
    return 0


def list_models() -> None:
    """Print a table of the installed models."""
    from segstream.flops import measure
    from segstream.geometry import fit
    from segstream.models import load_model, model_names
    from segstream.models.registry import model_path

    names = model_names()
    if not names:
        console.out().print(
            "no model is installed; train one with training/train.py, or take over a checkpoint with "
            "`segstream models import`",
            soft_wrap=True,
            markup=False,
        )
        return
    for name in names:
        model = load_model(name)
        spec = model.spec
        geometry = fit((spec.size[1], spec.size[0]), spec.size, spec.block)
        costs = measure(model, spec.block)
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(overflow="fold")  # a long path is broken into lines, never cut
        table.add_row("encoder", spec.encoder)
        table.add_row("classes", f"{len(spec.classes)}: {', '.join(spec.classes)}")
        table.add_row("results", ", ".join(f"{key} {value:g}" for key, value in spec.results.items()) or "not measured")
        table.add_row(
            "GMAC", f"{costs.dense_gmacs(geometry.rows, geometry.columns):.1f} dense at {spec.size[0]}x{spec.size[1]}"
        )
        other = model.policy_net is not None and spec.policy != "learned"
        table.add_row("policy", spec.policy + ("; learned is available" if other else ""))
        table.add_row("data", spec.data)
        table.add_row("licence", spec.licence)
        table.add_row("file", str(model_path(name)))
        console.out().print(name, style="bold")
        console.out().print(table)


@command.command(cls=Command, name="import", epilog=_EXAMPLES)
@click.argument("checkpoint", metavar="CKPT")
@option("-o", "--output", required=True, metavar="OUT.safetensors", group="Output", help="The model file to write.")
@overwrite_option
@option("--encoder", type=click.Choice(_ENCODERS), required=True, group="Model", help="The network's encoder.")
@option(
    "--classes",
    metavar="NAMES",
    group="Model",
    help="Class names, separated by commas; known for the 19 of Cityscapes and the 11 of CamVid.",
)
@common_options
def import_command(checkpoint: str, output: str, overwrite: bool, encoder: str, classes: str | None, **_: Any) -> int:
    """Take over a checkpoint of the SegBlocks authors' implementation.

    The file is read as plain weights; no code in it is run.
    """
    target = Path(output)
    if target.suffix != ".safetensors":
        raise UsageError(f"{output} does not end in .safetensors; models are stored in such files")
    check_report(output, overwrite)
    from segstream.models import ModelSpec, save_model
    from segstream.models.checkpoints import class_count, import_authors, read_checkpoint
    from segstream.palettes import distinct, palette

    tensors = read_checkpoint(checkpoint)
    names = class_names(class_count(tensors), classes)
    known = len(names) in (11, 19) and classes is None
    colours = palette("camvid" if len(names) == 11 else "cityscapes", names) if known else distinct(len(names))
    learned = any(name.startswith("policy.") for name in tensors)
    spec = ModelSpec(
        name=target.stem,
        encoder=encoder,
        classes=names,
        palette=tuple((int(r), int(g), int(b)) for r, g, b in colours),
        size=(960, 720) if len(names) == 11 else (2048, 1024),
        block=128,
        interpolation="local",
        policy="learned" if learned else "heuristic",
        data="imported; see where the checkpoint came from",
        licence="that of the checkpoint and of the data it was trained on",
    )
    model = import_authors(checkpoint, spec)
    save_model(model, target)
    console.out().print(
        f"{target}: {encoder}, {len(names)} classes, {'with' if learned else 'without'} a learned policy",
        soft_wrap=True,
        markup=False,
    )
    return 0


def class_names(count: int, given: str | None) -> tuple[str, ...]:
    """Names for the classes of a checkpoint.

    Raises:
        UsageError: if another number of names was given.
    """
    from segstream.palettes import CAMVID, CITYSCAPES

    if given is not None:
        names = tuple(name.strip() for name in given.split(","))
        if len(names) != count or not all(names):
            raise UsageError(f"{len(names)} class names were given, but the checkpoint has {count} classes")
        return names
    for known in (CAMVID, CITYSCAPES):
        if len(known) == count:
            return tuple(known)
    return tuple(f"class {k}" for k in range(count))
