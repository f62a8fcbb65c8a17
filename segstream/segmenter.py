"""The one object that people embed: images in, results out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segstream.blocks.grid import BLOCK_SIDES
from segstream.config import BORDERS, STEADY
from segstream.engines.base import Choice, EngineOutput
from segstream.engines.choose import make_engine
from segstream.errors import UsageError
from segstream.flops import measure
from segstream.frames import Frame, Result
from segstream.geometry import Geometry, check_image, check_size, fit
from segstream.models import DEFAULT_MODEL, Model, ModelSpec, load_model
from segstream.policies import LastFrame, bonus_of, check_options, own_threshold, threshold_in_use


class Segmenter:
    """Segments images with a SegBlocks network.

    Settings may be changed between frames from any thread: `policy`, `threshold`, `budget`, `steady`, `borders` and
    `seed` are read once for each frame. Calls themselves must come from one thread at a time.

    Args:
        model: name of an installed model, path of a .safetensors file, or a loaded `Model`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        policy: "learned", "heuristic", "random", "high" or "low"; None takes the model's own.
        threshold: score above which a block runs at high resolution, 0..1; None takes the model's own for the policy.
        budget: largest share of blocks at high resolution, 0..1.
        size: width and height of the network input; None takes about as many pixels as the model was trained on.
        block: side of a block in pixels of the network input, 64, 128 and so on; None takes the model's own.
        steady: how steady the grid of a video is, 0..1: a block that was high in the `previous` frame stays high until
            its score falls below (1 - steady) * threshold. At threshold 0, where the budget alone decides, it gives way
            only to a block that scores higher by `steady` times the model's own threshold.
        borders: how much the borders between classes in the `previous` class map count, 0..1: a block with one standard
            deviation more of them than the mean scores higher by `borders` times the model's own threshold.
        seed: for the random policy.

    Raises:
        ModelError: if the model cannot be loaded.
        UsageError: if an option cannot be used.
    """

    def __init__(
        self,
        model: str | Path | Model = DEFAULT_MODEL,
        *,
        device: str = "auto",
        policy: str | None = None,
        threshold: float | None = None,
        budget: float = 1.0,
        size: tuple[int, int] | None = None,
        block: int | None = None,
        steady: float = STEADY,
        borders: float = BORDERS,
        seed: int = 0,
    ) -> None:
        loaded = model if isinstance(model, Model) else load_model(model)
        spec = loaded.spec
        self.policy = spec.policy if policy is None else policy
        self.threshold = threshold
        self.budget = budget
        self.steady = steady
        self.borders = borders
        self.seed = seed
        self.has_learned_policy = loaded.policy_net is not None
        self.spec: ModelSpec = spec
        self._check(self.policy, threshold, budget, steady, borders)
        self.size = check_size(size)
        self.block = spec.block if block is None else block
        if self.block not in BLOCK_SIDES:
            sides = ", ".join(map(str, BLOCK_SIDES))
            raise UsageError(f"the block side must be one of {sides} pixels, not {self.block}")
        self._costs = measure(loaded, self.block)
        self._palette = np.asarray(spec.palette, dtype=np.uint8)
        self._engine = make_engine(loaded, device)

    @property
    def engine_name(self) -> str:
        """Name of the engine that runs the network."""
        return self._engine.name

    def geometry(self, height: int, width: int) -> Geometry:
        """The sizes that a frame of this height and width goes through."""
        return fit((height, width), self.size or self.spec.size, self.block, exact=self.size is not None)

    def frame_memory(self, height: int, width: int) -> NDArray[np.uint8] | None:
        """An array to read a frame of this height and width into, from which a GPU takes it soonest.

        It is page-locked memory, uint8 [H, W, 3] with any content. None where an ordinary array does as well: on a CPU,
        for a frame that is scaled to the network's size first, and where as much as may be is in use already. May be
        called from any thread.

        Raises:
            UsageError: if frames of this size cannot be segmented.
        """
        return self._engine.frame_memory(self.geometry(height, width))

    def threshold_for(self, policy: str) -> float:
        """The threshold in use for a policy: the user's, the model's own, or the general one."""
        return threshold_in_use(self.spec, policy, self.threshold)

    def _check(self, policy: str, threshold: float | None, budget: float, steady: float, borders: float) -> None:
        """Refuse settings that cannot be used, or not with this model, before an engine meets them."""
        check_options(policy, threshold, budget, steady, borders)
        if policy == "learned" and not self.has_learned_policy:
            raise UsageError(f"the model {self.spec.name!r} has no learned policy; use heuristic, random, high or low")

    def __call__(self, image: NDArray[np.uint8] | Frame, previous: Result | None = None) -> Result:
        """Segment one image.

        Args:
            image: uint8 [H, W, 3] in RGB order, or a `Frame`.
            previous: the result for the frame before this one of the same video, which keeps the grid steady and tells
                where classes meet; without it the same frame always gives the same grid. A result whose grid has
                another size, as after a change of resolution, is left out of account.

        Raises:
            UsageError: if it is no such image, or a setting that was changed cannot be used.
        """
        if not isinstance(image, Frame):
            image = Frame(image=check_image(image), captured_at=time.monotonic())
        check_image(image.image)
        if previous is not None and not isinstance(previous, Result):
            raise UsageError(f"previous must be the Result of the frame before, not a {type(previous).__name__}")
        policy, threshold, budget = self.policy, self.threshold, self.budget
        steady, borders, seed = self.steady, self.borders, self.seed
        self._check(policy, threshold, budget, steady, borders)
        geometry = self.geometry(*image.image.shape[:2])
        usual = own_threshold(self.spec, policy)
        threshold = threshold_in_use(self.spec, policy, threshold)
        last = None if previous is None else LastFrame(previous.blocks, previous.labels, previous.block_px)
        bonus = bonus_of(policy, (geometry.rows, geometry.columns), last, threshold, usual, steady, borders)
        choice = Choice(policy, threshold, budget, seed, bonus)
        output = self._engine.infer(image.image, geometry, choice)
        return self._result(image, output, policy)

    def _result(self, frame: Frame, output: EngineOutput, policy: str) -> Result:
        rows, columns = output.blocks.shape
        n_high = int(output.blocks.sum())
        return Result(
            frame=frame,
            labels=output.labels,
            blocks=output.blocks,
            block_px=output.geometry.block_px,
            classes=self.spec.classes,
            palette=self._palette,
            high_share=n_high / (rows * columns),
            gmacs=self._costs.gmacs(rows, columns, n_high, policy),
            dense_gmacs=self._costs.dense_gmacs(rows, columns),
            timings=output.timings,
            model=self.spec.name,
            engine=self._engine.name,
            policy=policy,
        )

    def stream(self, source: Any, **options: Any) -> Iterator[Result]:
        """Segment a video, camera, folder or URL frame by frame; see `segstream.stream`."""
        from segstream.pipeline import stream

        return stream(source, model=self, **options)

    def close(self) -> None:
        """Give back what the engine holds."""
        self._engine.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
