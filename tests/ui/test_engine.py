"""What the viewer's engine passes on from the segmenter to the threads that read frames, and to the segmenter."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

import segstream.models
from segstream.frames import Frame
from segstream.models import Model
from segstream.segmenter import Segmenter
from segstream.ui.engine import Engine, Fixed
from segstream.ui.state import Settings
from tests.ui.helpers import SIZE


def load(engine: Engine, settings: Settings) -> None:
    """Configure an engine and wait for its network."""
    engine.configure(settings)
    end = time.monotonic() + 20
    while engine.busy:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_memory_for_frames_is_the_present_networks() -> None:
    class Offering(Segmenter):
        def frame_memory(self, height: int, width: int) -> NDArray[np.uint8]:
            return np.zeros((height, width, 3), np.uint8)

    failures: list[str] = []
    engine = Engine(Fixed(size=SIZE), lambda network: None, failures.append)
    seat = engine.seat()
    assert seat.frame_memory(48, 64) is None  # there is no network yet
    load(engine, Settings(model="untrained-rn18", device="cpu"))
    assert seat.frame_memory(48, 64) is None  # on a CPU
    assert engine._segmenter is not None and not failures
    engine._segmenter.__class__ = Offering
    memory = seat.frame_memory(48, 64)
    assert memory is not None and memory.shape == (48, 64, 3)
    assert engine.close()
    assert seat.frame_memory(48, 64) is None


def test_it_is_busy_until_the_newest_choice_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    load_model = segstream.models.load_model
    begun, gates = threading.Event(), {name: threading.Event() for name in ("first", "second")}

    def slow(name: str) -> Model:
        begun.set()
        assert gates[name].wait(10)
        return load_model("untrained-rn18")

    def wait_for(count: int) -> None:
        end = time.monotonic() + 20
        while len(loaded) < count:
            assert time.monotonic() < end
            time.sleep(0.01)

    monkeypatch.setattr(segstream.models, "load_model", slow)
    loaded: list[str] = []
    engine = Engine(Fixed(size=SIZE), lambda network: loaded.append(network.model), lambda sentence: None)
    engine.configure(Settings(model="first", device="cpu"))
    assert begun.wait(10)
    engine.configure(Settings(model="second", device="cpu"))
    gates["first"].set()
    wait_for(1)
    assert loaded == ["first"] and engine.busy == "Loading second"
    gates["second"].set()
    wait_for(2)
    assert loaded == ["first", "second"] and not engine.busy and engine.close()


def test_how_frames_look_back_is_what_the_command_line_says() -> None:
    noise = np.random.default_rng(0).integers(100, 110, (64, 128, 3), dtype=np.uint8)
    frame = Frame(noise)  # hardly any detail: by itself no block is high
    settings = Settings(model="untrained-rn18", device="cpu", policy="heuristic", threshold=0.3)
    shares = []
    for steady in (0.0, 1.0):
        failures: list[str] = []
        engine = Engine(Fixed(size=SIZE, steady=steady, borders=0.0), lambda network: None, failures.append)
        load(engine, settings)
        alone = engine.seat()(frame)
        following = engine.seat()(frame, dataclasses.replace(alone, blocks=np.ones_like(alone.blocks)))
        shares.append((alone.high_share, following.high_share))
        assert engine.close() and not failures
    assert shares == [(0.0, 0.0), (0.0, 1.0)]
