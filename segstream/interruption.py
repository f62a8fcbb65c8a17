"""SIGINT and SIGTERM: a recording that is told to end finishes its files."""

from __future__ import annotations

import _thread
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol


class Stoppable(Protocol):
    def stop(self) -> None: ...


class Interruption:
    """Whether a signal has asked for the end."""

    interrupted = False


@contextmanager
def stop_on_signals(pipeline: Stoppable) -> Iterator[Interruption]:
    """Let SIGINT and SIGTERM stop a pipeline so that its outputs are finished; the second one kills as usual.

    For the main thread. Afterwards `interrupted` tells whether one came.
    """
    state = Interruption()
    names = [signal.SIGINT, signal.SIGTERM]
    before = {name: signal.getsignal(name) for name in names}

    def handle(number: int, _: FrameType | None) -> None:
        state.interrupted = True
        # In a thread of its own: the main thread, in whose midst this runs, may hold the lock of an event that stopping
        # sets. Starting a `threading.Thread` takes locks too.
        _thread.start_new_thread(pipeline.stop, ())
        for name in names:
            signal.signal(name, signal.SIG_DFL)

    for name in names:
        signal.signal(name, handle)
    try:
        yield state
    finally:
        for name in names:
            signal.signal(name, before[name])
