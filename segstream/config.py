"""Settings of a run, and the YAML files they can come from."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from segstream.errors import UsageError

STEADY = 0.15  # how far below the threshold a video's block must fall before it runs low again, as a share of it
BORDERS = 0.3  # how much the borders between classes in a video's last class map count for a block, see Segmenter

if TYPE_CHECKING:
    from segstream.models import Model
    from segstream.pipeline import DrawOptions
    from segstream.segmenter import Segmenter
    from segstream.sources import SourceOptions


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user asked for, parsed and checked; the names are those of the command line.

    Attributes:
        sources: what to read; empty if none was named.
        model: name or path of the model.
        device: "auto", "cpu", "cuda" or "cuda:N".
        policy: name of the policy; None takes the model's own.
        threshold: score above which a block is high, 0..1; None takes the model's own.
        budget: largest share of blocks that may be high, 0..1.
        steady, borders: see `segstream.Segmenter`.
        size: width and height of the network input; None takes the model's own.
        block: side of a block in pixels; None takes the model's own.
        target_fps: frames per second to keep up with by adapting the budget.
        view, alpha, grid, legend, stats: see `segstream.overlay.draw`.
        palette: name of a palette; None takes the model's own colours.
        source_options: how sources are opened and read; None for the defaults.
        progress: "auto", "json" or "off".
        verbose: how much to tell, 0 to 2.
        quiet: tell nothing but errors.
        headless: open no window.
    """

    sources: tuple[str, ...] = ()
    model: str | None = None
    device: str = "auto"
    policy: str | None = None
    threshold: float | None = None
    budget: float = 1.0
    steady: float = STEADY
    borders: float = BORDERS
    size: tuple[int, int] | None = None
    block: int | None = None
    target_fps: float | None = None
    view: str = "overlay"
    alpha: float = 0.5
    grid: bool = True
    legend: bool = False
    stats: bool = False
    palette: str | None = None
    source_options: SourceOptions | None = field(default=None)
    progress: str = "auto"
    verbose: int = 0
    quiet: bool = False
    headless: bool = False

    def draw_options(self) -> DrawOptions:
        """How results are drawn."""
        from segstream.pipeline import DrawOptions

        return DrawOptions(alpha=self.alpha, grid=self.grid, view=self.view, legend=self.legend, stats=self.stats)

    def load_model(self) -> Model:
        """The model, in the colours that were asked for.

        Raises:
            ModelError: if it cannot be loaded.
            UsageError: if there is no such palette.
        """
        from segstream.models import DEFAULT_MODEL, load_model
        from segstream.palettes import palette

        model = load_model(self.model or DEFAULT_MODEL)
        if self.palette is not None:
            colours = tuple((int(r), int(g), int(b)) for r, g, b in palette(self.palette, model.spec.classes))
            model = replace(model, spec=replace(model.spec, palette=colours))
        return model

    def make_segmenter(self) -> Segmenter:
        """The segmenter that these settings describe.

        Raises:
            ModelError: if the model cannot be loaded.
            UsageError: if a setting cannot be used.
        """
        from segstream.segmenter import Segmenter

        return Segmenter(
            self.load_model(),
            device=self.device,
            policy=self.policy,
            threshold=self.threshold,
            budget=self.budget,
            steady=self.steady,
            borders=self.borders,
            size=self.size,
            block=self.block,
        )


def read_config(path: str | Path, known: Collection[str]) -> dict[str, Any]:
    """Read a YAML file of settings.

    Args:
        path: the file; a mapping whose keys are names of the command line, such as `policy` or `target-fps`.
        known: the names that exist.

    Returns:
        The settings by name, with underscores for hyphens.

    Raises:
        UsageError: if the file cannot be read, is not such a mapping, or holds an unknown name.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the configuration {path} cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it is not text"
        raise UsageError(
            f"the configuration {path} is not YAML{where} ({problem}); write one `name: value` a line"
        ) from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise UsageError(
            f"the configuration {path} holds a {type(content).__name__}, not settings; write one `name: value` a line"
        )
    settings = {}
    for key, value in content.items():
        name = str(key).strip().replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = (
                f"did you mean {_shown(near[0])!r}?"
                if near
                else f"the names are {', '.join(map(_shown, sorted(known)))}"
            )
            raise UsageError(f"the configuration {path} sets {str(key)!r}, which does not exist; {hint}")
        settings[name] = value
    return settings


def _shown(name: str) -> str:
    return name.replace("_", "-")
