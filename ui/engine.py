"""The segmenter as the viewer uses it, without Qt: settings and model change at any time, and errors can be mended.

A pipeline calls a `Seat` of it like any segmenter. When the network fails, the call does not: it tells, waits until
another model, device or policy was chosen, and does the same frame again. So the program stays alive and no frame is
lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segstream.config import BORDERS, STEADY
from segstream.errors import SegstreamError
from segstream.frames import Frame, Result
from segstream.pace import BudgetController
from segstream.ui.newest import NewestWorker
from segstream.ui.state import Network, Settings

if TYPE_CHECKING:
    from segstream.models import Model
    from segstream.segmenter import Segmenter


@dataclass(frozen=True)
class Fixed:
    """What is set once, on the command line, because the window has no control for it; see `segstream.Segmenter`.

    Attributes:
        remembered: the device of the last time, or "" where one was asked for. This machine may not have it, and then
            "auto" takes its place.
    """

    size: tuple[int, int] | None = None
    block: int | None = None
    steady: float = STEADY
    borders: float = BORDERS
    remembered: str = ""


class Left(Exception):
    """The source was left, or the viewer is closing; whoever waits for a result gets none."""


class Seat:
    """The engine as one pipeline calls it. A call ends when the seat is left, whatever it waits for.

    Attributes:
        budget: what the pipeline would set; the engine follows the viewer's settings instead.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.left = False
        self.budget = 1.0

    def __call__(self, image: Frame, previous: Result | None = None) -> Result:
        return self._engine.segment(image, self, previous)

    def frame_memory(self, height: int, width: int) -> NDArray[np.uint8] | None:
        """See `Segmenter.frame_memory`; None too while there is no network."""
        return self._engine.frame_memory(height, width)

    def leave(self) -> None:
        """The source was left."""
        self._engine.leave(self)


class Engine:
    """Holds the segmenter and changes it in a thread of its own.

    Args:
        fixed: options that do not change.
        loaded: told what runs, from another thread.
        failed: told a sentence when a model cannot be loaded or a frame cannot be segmented, from another thread.
        replaced: told a sentence when "auto" took the place of the remembered device, from another thread.
    """

    def __init__(
        self,
        fixed: Fixed,
        loaded: Callable[[Network], None],
        failed: Callable[[str], None],
        replaced: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._fixed, self._loaded, self._failed, self._replaced = fixed, loaded, failed, replaced
        self._remembered = fixed.remembered
        self._changed = threading.Condition()
        self._one_at_a_time = threading.Lock()  # the last source may still be in a frame when the next one begins
        self._settings = Settings()
        self._wanted: tuple[str, str] | None = None
        self._loading: tuple[str, str] | None = None
        self._segmenter: Segmenter | None = None
        self._network = Network()
        self._controller: BudgetController | None = None
        self._version = 0  # grows with every change, so that a failed frame knows when to try again
        self._closing = False
        self.busy = ""
        self._loader: NewestWorker[tuple[str, str]] = NewestWorker("segstream-loader", self._load, self._load_failed)

    def budget(self) -> float:
        """The share of high blocks allowed now: what is set, and no more than the target rate allows."""
        allowed = self._controller.budget if self._controller is not None else 1.0
        return min(self._settings.budget, allowed)

    def seat(self) -> Seat:
        """A segmenter for one pipeline."""
        return Seat(self)

    def configure(self, settings: Settings) -> None:
        """Use these settings from the next frame on; load another model or move to another device if need be."""
        wanted = (settings.model, settings.device)
        with self._changed:
            if settings.target_fps != self._settings.target_fps:
                rate = settings.target_fps
                self._controller = BudgetController(rate) if rate else None
            load, self._wanted = wanted != self._wanted, wanted
            self._settings = settings
            self._version += 1
            self._changed.notify_all()
        if load:
            self.busy = f"Loading {settings.model or 'the model'}"
            self._loader.submit(wanted)

    def segment(self, frame: Frame, seat: Seat, previous: Result | None = None) -> Result:
        """Segment one frame, whatever it takes; see `Seat`."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._segmenter is not None or seat.left or self._closing)
            with self._one_at_a_time:
                segmenter, settings, version = self._segmenter, self._settings, self._version
                if segmenter is None or seat.left or self._closing:
                    raise Left
                try:
                    return self._segment(segmenter, settings, frame, previous)
                except SegstreamError as error:
                    problem = str(error)
                except Exception as error:  # the window must say it and live on
                    problem = f"The network failed ({type(error).__name__}: {error}); choose another device or model."
            self._failed(problem)
            self._wait_for_change(version, seat)

    def frame_memory(self, height: int, width: int) -> NDArray[np.uint8] | None:
        segmenter = self._segmenter
        return None if segmenter is None else segmenter.frame_memory(height, width)

    def _wait_for_change(self, version: int, seat: Seat) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._version != version or seat.left or self._closing)

    def _segment(self, segmenter: Segmenter, settings: Settings, frame: Frame, previous: Result | None) -> Result:
        segmenter.policy = self._network.policy_for(settings.policy)
        segmenter.threshold, segmenter.budget = settings.threshold, self.budget()
        start = time.perf_counter()
        result = segmenter(frame, previous)
        controller = self._controller
        if controller is not None:
            controller.update(1000 * (time.perf_counter() - start), result.high_share)
        return result

    def leave(self, seat: Seat) -> None:
        """Let whoever waits on this seat go."""
        with self._changed:
            seat.left = True
            self._changed.notify_all()

    def _load(self, wanted: tuple[str, str]) -> None:
        from segstream.models import DEFAULT_MODEL, load_model
        from segstream.policies import POLICIES

        self._loading = wanted
        model, device = wanted
        loaded = load_model(model or DEFAULT_MODEL)
        if self._closing:
            return
        segmenter, problem = self._segmenter_on(device, loaded)
        thresholds = {
            name: segmenter.threshold_for(name)
            for name in POLICIES
            if name != "learned" or segmenter.has_learned_policy
        }
        spec = segmenter.spec
        network = Network(
            str(model or spec.name), segmenter.engine_name, spec.classes, spec.palette, spec.policy, thresholds
        )
        with self._one_at_a_time:  # the frame that is in the last one is done with it
            last, self._segmenter, self._network = self._segmenter, segmenter, network
            if last is not None:
                last.close()
        with self._changed:
            self._end_loading(wanted)
            replaced = bool(problem) and self._wanted == wanted
            if replaced:
                self._wanted = (model, "auto")  # which is loaded already
            self._version += 1
            self._changed.notify_all()
        if replaced:
            self._replaced(problem)
        self._loaded(network)

    def _segmenter_on(self, device: str, model: Model) -> tuple[Segmenter, str]:
        """A segmenter on a device; where the remembered one cannot be used on "auto", and why."""
        from segstream.segmenter import Segmenter

        remembered, self._remembered = self._remembered, ""
        make = partial(
            Segmenter,
            model,
            policy="high",
            size=self._fixed.size,
            block=self._fixed.block,
            steady=self._fixed.steady,
            borders=self._fixed.borders,
        )
        try:
            return make(device=device), ""
        except SegstreamError as error:
            if device != remembered or device == "auto":
                raise
            problem = str(error)
        return make(device="auto"), problem

    def _end_loading(self, loaded: tuple[str, str] | None) -> None:
        """Nothing is being loaded any more, unless something else is wanted meanwhile, which comes next."""
        if self._wanted == loaded:
            self.busy = ""

    def _load_failed(self, error: Exception) -> None:
        with self._changed:
            self._end_loading(self._loading)
        known = isinstance(error, SegstreamError)
        self._failed(str(error) if known else f"The model could not be loaded ({type(error).__name__}: {error}).")

    def close(self, timeout: float = 1.5) -> bool:
        """End the loader and whoever waits for a result; true when they ended in time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        good = self._loader.close(timeout)
        if self._one_at_a_time.acquire(timeout=timeout):
            if self._segmenter is not None:
                self._segmenter.close()
            self._segmenter = None
            self._one_at_a_time.release()
        return good
