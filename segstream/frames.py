"""What travels through segstream: a `Frame` on the way in, a `Result` on the way out."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source.

    Attributes:
        image: uint8 [H, W, 3], RGB, upright (rotation already applied).
        index: position among the frames this source delivered, from 0.
        pts: presentation time in units of `time_base`, or None where the source has none.
        time_base: seconds per unit of `pts`.
        pts_seconds: `pts * time_base`, or for sources without timestamps the seconds since the first frame.
        captured_at: `time.monotonic()` when the frame left the decoder, to measure latency.
        dropped: frames a live source has dropped so far in favour of newer ones.
        source: name of the source, to show (never with credentials).
        file: the image file that it is, of a source of images; empty for others.
    """

    image: NDArray[np.uint8]  # [H, W, 3]
    index: int = 0
    pts: int | None = None
    time_base: Fraction | None = None
    pts_seconds: float | None = None
    captured_at: float = 0.0
    dropped: int = 0
    source: str = ""
    file: str = ""


@dataclass(slots=True)
class Result:
    """What the network found in one frame, and what it cost.

    Attributes:
        frame: the frame it belongs to.
        labels: uint8 [H, W], class index per pixel of the frame.
        blocks: bool [GH, GW], true where the block ran at high resolution.
        block_px: height and width of one block in pixels of the frame; the last row and column of blocks may reach
            over the frame's edge.
        classes: class names by index.
        palette: uint8 [K, 3], RGB colour by class index.
        high_share: share of blocks at high resolution, 0..1.
        gmacs: multiply-accumulates that really ran for this frame, in units of 1e9, policy included.
        dense_gmacs: what the dense network costs on the same network input.
        timings: milliseconds by stage ("policy", "network", "combine", ...).
        model: name of the model.
        engine: name of the engine that ran it.
        policy: name of the policy that chose the blocks.
    """

    frame: Frame
    labels: NDArray[np.uint8]  # [H, W]
    blocks: NDArray[np.bool_]  # [GH, GW]
    block_px: tuple[float, float]
    classes: tuple[str, ...]
    palette: NDArray[np.uint8]  # [K, 3]
    high_share: float
    gmacs: float
    dense_gmacs: float
    timings: dict[str, float] = field(default_factory=dict)
    model: str = ""
    engine: str = ""
    policy: str = ""

    @property
    def index(self) -> int:
        return self.frame.index

    @property
    def pts_seconds(self) -> float | None:
        return self.frame.pts_seconds

    @property
    def dropped(self) -> int:
        return self.frame.dropped

    def class_shares(self) -> dict[str, float]:
        """Share of the frame's pixels by class name, 0..1; classes that do not occur are left out."""
        import cv2  # here, so that `import segstream` stays light

        counts = cv2.calcHist([np.ascontiguousarray(self.labels)], [0], None, [256], [0, 256]).reshape(-1)
        total = max(1, self.labels.size)
        return {name: float(n) / total for name, n in zip(self.classes, counts, strict=False) if n}

    def plot(
        self,
        *,
        alpha: float = 0.5,
        grid: bool = True,
        view: str = "overlay",
        legend: bool = False,
        stats: bool = False,
    ) -> NDArray[np.uint8]:
        """Draw the result over its frame.

        Args:
            alpha: opacity of the class colours, 0..1.
            grid: outline the blocks that ran at high resolution.
            view: "overlay", "mask", "split" or "source".
            legend: add a legend of the classes in the frame.
            stats: add a line with the share of high blocks, GMAC and speed.

        Returns:
            uint8 [H, W, 3], RGB.
        """
        from segstream.overlay import draw

        return draw(self, alpha=alpha, grid=grid, view=view, legend=legend, stats=stats)
