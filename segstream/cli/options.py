"""Options that several commands share, in named groups, and the types of their values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.core import ParameterSource

from segstream.cli import console
from segstream.config import BORDERS, STEADY, Settings, read_config
from segstream.errors import UsageError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Option(click.Option):
    """An option that is listed under a heading in the help text."""

    def __init__(self, *arguments: Any, group: str = "General", **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.group = group


class Command(click.Command):
    """A command whose help text groups its options, and whose options may come from a YAML file."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if not isinstance(parameter, click.Option):
                continue  # named in the usage line
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "General"), []).append(record)
        for title in sorted(groups, key=lambda title: title == "General"):
            with formatter.section(title):
                formatter.write_dl(groups[title])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write_paragraph()
            for line in self.epilog.strip("\n").splitlines():
                formatter.write(f"{line}\n")


class Size(click.ParamType):
    """WIDTHxHEIGHT."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value  # type: ignore[return-value]
        match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", str(value).strip())
        if not match or "0" in match.groups():
            self.fail(f"{value!r} is not a size; write width and height like 1024x512", param, ctx)
        return int(match[1]), int(match[2])


class Reconnect(click.ParamType):
    """A number of attempts, inf or off."""

    name = "N|inf|off"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, bool):  # YAML reads off as false
            return math.inf if value else 0
        text = str(value).strip().lower()
        if text in ("inf", "on"):
            return math.inf
        if text == "off":
            return 0
        if not text.isdecimal():
            self.fail(f"{value!r} is not a number of attempts; write a number, inf or off", param, ctx)
        return int(text)


class Words(click.Choice):
    """One of some words, of which one may be `off`, which YAML reads as false."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value is False and "off" in self.choices:
            value = "off"
        return super().convert(value, param, ctx)


class Number(click.ParamType):
    """A finite number of a kind that is described in words."""

    def __init__(self, name: str, words: str, accepts: Callable[[float], bool], whole: bool = False) -> None:
        self.name, self.words, self.accepts, self.whole = name, words, accepts, whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            number = int(str(value)) if self.whole else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number) or not self.accepts(number):
            self.fail(f"{value!r} is not {self.words}", param, ctx)
        return number


SHARE = Number("0..1", "a number from 0 to 1", lambda n: 0 <= n <= 1)
POSITIVE = Number("N", "a number above 0", lambda n: n > 0)
SECONDS = Number("S", "a number of seconds from 0", lambda n: n >= 0)
COUNT = Number("N", "a whole number from 1", lambda n: n >= 1, whole=True)
QUALITY = Number("N", "a whole number from 0 to 63", lambda n: 0 <= n <= 63, whole=True)


def _stack(*options: Decorator) -> Decorator:
    """Several option decorators as one, listed in the order given."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def option(*names: str, group: str = "General", **keywords: Any) -> Decorator:
    return click.option(*names, cls=Option, group=group, **keywords)


def source_option(help_text: str, multiple: bool = True) -> Decorator:
    return option("-s", "--source", "sources", multiple=multiple, metavar="SOURCE", group="Source", help=help_text)


source_options = _stack(
    option("--start", type=SECONDS, default=0.0, metavar="S", group="Source", help="Skip the first S seconds."),
    option("--end", type=POSITIVE, metavar="S", group="Source", help="End S seconds into the source."),
    option("--max-frames", type=COUNT, group="Source", help="End after N frames."),
    option("--loop/--no-loop", default=False, group="Source", help="Start again at the end (files, images, demo)."),
    option(
        "--live",
        type=Words(["latest", "all"]),
        default="latest",
        group="Source",
        show_default=True,
        help="Of cameras and streams, show the newest frame and drop older ones, or process all.",
    ),
    option(
        "--open-timeout",
        type=POSITIVE,
        default=10.0,
        metavar="S",
        group="Source",
        show_default=True,
        help="Seconds that connecting may take.",
    ),
    option(
        "--read-timeout",
        type=POSITIVE,
        default=5.0,
        metavar="S",
        group="Source",
        show_default=True,
        help="Seconds without a frame until a stream counts as lost.",
    ),
    option(
        "--reconnect",
        type=Reconnect(),
        metavar="N|inf|off",
        default="inf",
        group="Source",
        show_default=True,
        help="Attempts to get a lost stream or camera back.",
    ),
    option(
        "--rtsp-transport",
        type=Words(["tcp", "udp"]),
        default="tcp",
        group="Source",
        show_default=True,
        help="How RTSP delivers the frames.",
    ),
    option(
        "--cam-size",
        type=Size(),
        metavar="WxH",
        group="Source",
        help="Size to ask of a camera; see `segstream cameras`.",
    ),
    option("--cam-fps", type=POSITIVE, metavar="N", group="Source", help="Frames per second to ask of a camera."),
    option("--cam-format", metavar="NAME", group="Source", help="Format to ask of a camera, such as mjpeg or yuyv422."),
    option(
        "--hwaccel",
        type=Words(["auto", "off", "cuda"]),
        default="auto",
        group="Source",
        show_default=True,
        help="Decode files on the GPU.",
    ),
)

model_option = option(
    "-m", "--model", metavar="NAME|FILE", group="Model", help="A model of `segstream models`, or a .safetensors file."
)
device_option = option(
    "--device",
    default="auto",
    metavar="auto|cpu|cuda[:N]",
    group="Model",
    show_default=True,
    help="What runs the network.",
)
size_option = option(
    "--size",
    type=Size(),
    metavar="WxH",
    group="Model",
    help="Size of the network input; the picture keeps its shape inside. Larger finds smaller things and takes longer.",
)
block_option = option(
    "--block", type=click.Choice(["64", "128"]), group="Model", help="Side of a block in pixels of the network input."
)
policy_options = _stack(
    option(
        "--policy",
        metavar="NAME",
        group="Model",
        help="What chooses the blocks to run at high resolution: learned, heuristic, random, high (all) or low (none).",
    ),
    option(
        "--threshold", type=SHARE, group="Model", help="Score above which a block is high; smaller means more blocks."
    ),
    option(
        "--budget",
        type=SHARE,
        default=1.0,
        group="Model",
        show_default=True,
        help="Largest share of blocks that may be high.",
    ),
)
target_option = option(
    "--target-fps",
    type=POSITIVE,
    metavar="N",
    group="Model",
    help="Keep up with N frames a second by adapting the budget, which stays within --budget.",
)
steady_option = option(
    "--steady",
    type=SHARE,
    default=STEADY,
    group="Model",
    show_default=True,
    help="How far below the threshold a block's score must fall before it runs low again, as a share of it; at "
    "--threshold 0, by how much another block must score higher, as a share of the model's own threshold.",
)
borders_option = option(
    "--borders",
    type=SHARE,
    default=BORDERS,
    group="Model",
    show_default=True,
    help="How much borders between classes in the last frame's class map raise a block's score.",
)
compute_options = _stack(
    model_option, policy_options, steady_option, borders_option, target_option, device_option, size_option, block_option
)

view_options = _stack(
    option(
        "--view",
        type=Words(["overlay", "mask", "split", "source"]),
        default="overlay",
        group="Picture",
        show_default=True,
        help="Class colours over the source, alone, over its right half, or the source as it is.",
    ),
    option(
        "--alpha", type=SHARE, default=0.5, group="Picture", show_default=True, help="Opacity of the class colours."
    ),
    option(
        "--grid/--no-grid", default=True, group="Picture", help="Outline the high-resolution blocks (default: yes)."
    ),
    option("--legend/--no-legend", default=False, group="Picture", help="Name the classes in the picture."),
    option(
        "--stats/--no-stats", default=False, group="Picture", help="Write the figures of the frame into the picture."
    ),
    option(
        "--palette", metavar="NAME", group="Picture", help="Colours: camvid, cityscapes, or safe for colour-blind eyes."
    ),
)


def name_in_config(option: click.Option) -> str:
    """What an option is called in a YAML file: as on the command line, without hyphens."""
    return next(name for name in option.opts if name.startswith("--"))[2:].replace("-", "_")


def _load_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Make a YAML file's settings the defaults of this command."""
    if value is None:
        return
    from segstream.cli.main import option_names

    mine = {name_in_config(p): p for p in ctx.command.params if isinstance(p, Option)}
    settings = read_config(value, option_names())
    defaults = dict(ctx.default_map or {})
    for name, setting in settings.items():
        if name not in mine:
            continue  # another command's
        if mine[name].multiple and not isinstance(setting, (list, tuple)):
            setting = [setting]
        if isinstance(setting, (list, tuple)):
            setting = [str(entry) for entry in setting]
        elif setting is not None and not isinstance(setting, (bool, dict)):
            setting = str(setting)  # as it would stand on the command line
        if isinstance(setting, dict):
            raise UsageError(f"the configuration {value} gives {name.replace('_', '-')!r} several values; give one")
        defaults[str(mine[name].name)] = setting
    ctx.default_map = defaults


def _set_verbosity(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    if param.name == "quiet" and value:
        console.set_verbosity(-1)
    elif param.name == "verbose" and value:
        console.set_verbosity(int(value))
    return value


common_options = _stack(
    option(
        "--config",
        type=click.Path(dir_okay=False),
        metavar="FILE.yaml",
        is_eager=True,
        expose_value=False,
        callback=_load_config,
        help="Read options from a file, one `name: value` a line; the command line wins.",
    ),
    option("-q", "--quiet", is_flag=True, callback=_set_verbosity, help="Print nothing but errors and results."),
    option(
        "-v",
        "--verbose",
        count=True,
        callback=_set_verbosity,
        help="Print more, and where an error happened; -vv still more.",
    ),
)
progress_option = option(
    "--progress",
    type=Words(["auto", "json", "off"]),
    default="auto",
    show_default=True,
    help="Show a bar, print JSON lines on stdout, or nothing.",
)
overwrite_option = option("--overwrite", is_flag=True, group="Output", help="Replace files that exist.")

_SOURCE_FIELDS = (
    "live",
    "open_timeout",
    "read_timeout",
    "reconnect",
    "rtsp_transport",
    "cam_size",
    "cam_fps",
    "cam_format",
    "hwaccel",
    "loop",
    "start",
    "end",
    "max_frames",
)


def make_settings(values: dict[str, Any]) -> Settings:
    """Turn parsed options into settings; options that are not settings stay in `values`.

    Raises:
        UsageError: if options contradict each other.
    """
    from segstream.palettes import PALETTES
    from segstream.policies import POLICIES
    from segstream.sources import SourceOptions

    source = SourceOptions(**{name: values.pop(name) for name in _SOURCE_FIELDS if name in values})
    block = values.pop("block", None)
    settings = Settings(
        source_options=source,
        block=None if block is None else int(block),
        **{name: values.pop(name) for name in list(values) if name in Settings.__dataclass_fields__},
    )
    if settings.policy is not None and settings.policy not in POLICIES:
        raise UsageError(f"there is no policy {settings.policy!r}; use one of {', '.join(POLICIES)}")
    if settings.palette is not None and settings.palette not in PALETTES:
        raise UsageError(f"there is no palette {settings.palette!r}; use one of {', '.join(PALETTES)}")
    return settings


def was_given(name: str) -> bool:
    """Whether an option of the running command came from the user rather than from its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, ParameterSource.DEFAULT)


def one_of(sources: Sequence[str]) -> str:
    """The single source of a command that takes one.

    Raises:
        UsageError: if none or several were given.
    """
    if not sources:
        raise UsageError("no source was given; add -s FILE, -s 0 for a camera, or -s demo to try it out")
    if len(sources) > 1:
        raise UsageError(f"{len(sources)} sources were given, but this takes one; use -s once")
    return sources[0]
