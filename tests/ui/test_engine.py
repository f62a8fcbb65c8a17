"""What the viewer's engine passes on from the segmenter to the threads that read frames."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from segstream.segmenter import Segmenter
from segstream.ui.engine import Engine, Fixed
from segstream.ui.state import Settings
from tests.ui.helpers import SIZE


def test_memory_for_frames_is_the_present_networks() -> None:
    class Offering(Segmenter):
        def frame_memory(self, height: int, width: int) -> NDArray[np.uint8]:
            return np.zeros((height, width, 3), np.uint8)

    failures: list[str] = []
    engine = Engine(Fixed(size=SIZE), lambda network: None, failures.append)
    seat = engine.seat()
    assert seat.frame_memory(48, 64) is None  # there is no network yet
    engine.configure(Settings(model="untrained-rn18", device="cpu"))
    end = time.monotonic() + 20
    while engine.busy:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert seat.frame_memory(48, 64) is None  # on a CPU
    assert engine._segmenter is not None and not failures
    engine._segmenter.__class__ = Offering
    memory = seat.frame_memory(48, 64)
    assert memory is not None and memory.shape == (48, 64, 3)
    assert engine.close()
    assert seat.frame_memory(48, 64) is None
