"""A bounded share of memory that is scarce, for frames on their way to an engine."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segstream.errors import EngineError

log = logging.getLogger(__name__)


class BoundedMemory:
    """Hands out arrays uint8 [H, W, 3] until those in use reach a limit. For any thread.

    Nothing is given back by hand: an array counts until the last reference to it, or to a part of it, is gone.

    Args:
        allocate: makes an array uint8 [H, W, 3]; None where it cannot just now.
        limit: bytes in use at once, counted as the powers of two that torch takes of page-locked memory.
    """

    def __init__(self, allocate: Callable[[int, int], NDArray[np.uint8] | None], limit: int) -> None:
        self._allocate, self._limit = allocate, limit
        self._lock = threading.Lock()
        # Looked through at every request: a callback of the garbage collector could come while the lock is held.
        self._used: list[tuple[weakref.ref[NDArray[np.uint8]], int]] = []

    def take(self, height: int, width: int) -> NDArray[np.uint8] | None:
        """An array uint8 [H, W, 3] with any content, or None where ordinary memory has to do.

        When the system refuses, that is logged and it is not asked again.
        """
        size = 1 << (3 * height * width - 1).bit_length()
        with self._lock:
            self._used = [(array, taken) for array, taken in self._used if array() is not None]
            if sum(taken for _, taken in self._used) + size > self._limit:
                return None
            try:
                image = self._allocate(height, width)
            except EngineError as error:
                self._limit = 0
                log.warning("frames stay in ordinary memory, from where they reach the GPU later: %s", error)
                return None
            if image is not None:
                self._used.append((weakref.ref(image), size))
            return image
