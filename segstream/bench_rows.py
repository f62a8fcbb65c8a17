"""What `segstream bench` reports: rows, and the report they stand in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One timed way to segment a frame.

    Attributes:
        name: what ran, for people.
        engine: "torch", "onnxruntime", "openvino", ..., or the engine's name where SegBlocks ran.
        high_share: share of blocks at high resolution, 0..1; None where it does not apply.
        ms: median milliseconds for one frame.
        fps: frames per second at that.
        gmacs: multiply-accumulates of one frame in units of 1e9.
        peak_mb: memory the row adds at its peak, in MB (1e6 bytes).
        ratio: milliseconds of the fastest dense competitor over this row's, the median over the rounds.
    """

    name: str
    engine: str
    high_share: float | None
    ms: float
    fps: float
    gmacs: float | None = None
    peak_mb: float | None = None
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class BenchReport:
    """All rows of one run.

    Attributes:
        model: name of the model.
        device: where SegBlocks ran.
        size: width and height of the network input in pixels.
        versions: of the libraries that ran, by name.
        rows: what was timed.
        notes: what a reader of the figures must know, one sentence each.
    """

    model: str
    device: str
    size: tuple[int, int]
    versions: dict[str, str]
    rows: tuple[BenchRow, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The report as plain values for JSON."""
        return {
            "model": self.model,
            "device": self.device,
            "size": list(self.size),
            "versions": self.versions,
            "rows": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
        }

    def table(self) -> Table:
        """The report as a table for `rich.console.Console.print`."""
        from rich.table import Table

        width, height = self.size
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        table = Table(title=f"{self.model} on {self.device}, {width}x{height}", caption=versions)
        table.add_column("what")
        table.add_column("engine")
        for heading in ("high", "ms", "FPS", "GMAC", "MB", "ratio"):
            table.add_column(heading, justify="right")
        for row in self.rows:
            table.add_row(
                row.name,
                row.engine,
                shown(row.high_share, "{:.0%}"),
                f"{row.ms:.3f}" if row.ms < 10 else f"{row.ms:.1f}",
                f"{row.fps:.1f}",
                shown(row.gmacs, "{:.1f}"),
                shown(row.peak_mb, "{:.0f}"),
                shown(row.ratio, "{:.2f}"),
            )
        return table


def shown(value: float | None, pattern: str) -> str:
    return "" if value is None else pattern.format(value)
