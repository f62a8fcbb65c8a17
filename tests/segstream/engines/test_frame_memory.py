"""The bound on scarce memory for frames, with ordinary memory in its place."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from segstream.engines.frame_memory import BoundedMemory
from segstream.errors import EngineError

FRAME = 64 * 64 * 3  # bytes; they count as 16384


def ordinary(height: int, width: int) -> NDArray[np.uint8]:
    return np.empty((height, width, 3), np.uint8)


def test_arrays_count_until_their_last_reference_is_gone() -> None:
    memory = BoundedMemory(ordinary, 3 * 16384)
    held = [memory.take(64, 64) for _ in range(3)]
    assert all(image is not None and image.shape == (64, 64, 3) and image.dtype == np.uint8 for image in held)
    assert memory.take(64, 64) is None and memory.take(1, 1) is None
    part = held[0][10:20, ::2]  # keeps the whole
    del held[0]
    assert memory.take(64, 64) is None
    del part
    again = memory.take(64, 64)
    assert again is not None and memory.take(64, 64) is None


def test_bytes_count_whatever_the_size() -> None:
    memory = BoundedMemory(ordinary, 32768)
    held = [memory.take(100, 100)]  # 30000 bytes, counted as 32768
    assert held[0] is not None and memory.take(1, 1) is None
    held.clear()
    assert memory.take(100, 110) is None  # 33000 bytes alone are too many
    assert sum(memory.take(1, 1) is not None for _ in range(10)) == 10  # none of them is kept


def test_where_the_system_refuses_it_is_asked_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[int] = []

    def refuse_the_third(height: int, width: int) -> NDArray[np.uint8]:
        asked.append(height)
        if len(asked) == 3:
            raise EngineError("The system gives no more; use an ordinary array.")
        return ordinary(height, width)

    memory = BoundedMemory(refuse_the_third, 1 << 20)
    with caplog.at_level(logging.INFO):
        given = [memory.take(64, 64) for _ in range(6)]
    assert [image is not None for image in given] == [True, True, False, False, False, False]
    assert len(asked) == 3 and [record.levelname for record in caplog.records] == ["WARNING"]
    assert "gives no more" in caplog.text


def test_memory_that_cannot_be_had_just_now_is_asked_for_again() -> None:
    answers = [None, ordinary(8, 8)]
    memory = BoundedMemory(lambda height, width: answers.pop(0), 1 << 20)
    assert memory.take(8, 8) is None
    assert memory.take(8, 8) is not None


def test_threads_together_keep_to_the_bound() -> None:
    memory = BoundedMemory(ordinary, 10 * 16384)
    together = threading.Barrier(8)
    given: list[object] = []
    most: list[int] = []

    def keep_two() -> None:
        together.wait()
        given.extend([memory.take(64, 64), memory.take(64, 64)])

    def keep_none() -> None:
        for _ in range(300):
            image = memory.take(64, 64)
            if image is not None:
                image[:] = 1
            most.append(image is not None)

    for work, expected in ((keep_two, 10), (keep_none, 0)):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(image is not None for image in given) == expected
        given.clear()
    assert all(most)  # eight at once at the most, which is within the bound
