"""Signals that stop a pipeline, whatever the main thread is doing just then."""

from __future__ import annotations

import signal
import threading

import pytest

from segstream.interruption import stop_on_signals


class Locked:
    """Its `stop` takes a lock, as setting a `threading.Event` does."""

    def __init__(self) -> None:
        self.lock, self.stopped, self.in_time = threading.Lock(), threading.Event(), False

    def stop(self) -> None:
        self.in_time = self.lock.acquire(timeout=2)
        self.stopped.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_main_thread_holds_what_stopping_needs(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    pipeline = Locked()
    with stop_on_signals(pipeline) as state:
        with pipeline.lock:
            signal.raise_signal(number)
            assert signal.getsignal(number) is signal.SIG_DFL  # the second one kills
        assert pipeline.stopped.wait(5) and pipeline.in_time
    assert state.interrupted and signal.getsignal(number) is before
