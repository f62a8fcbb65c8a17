"""Copies between host memory and a GPU, started through PyCUDA, which takes a few microseconds less each than torch.

The caller keeps both ends alive until the stream has done the copy. Memory that is not page-locked is copied by the
driver to a buffer of its own first, in the calling thread. Streams come from `launcher.new_stream`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segstream.errors import EngineError
from segstream.kernels import launcher


def upload(target: Tensor, source: NDArray[np.uint8], stream: torch.cuda.ExternalStream) -> None:
    """Start copying `source`, contiguous, to `target` on the GPU: as many bytes as `source` has.

    Raises:
        EngineError: if the driver refuses.
    """
    handle = launcher.pycuda_stream(stream)
    start(lambda: launcher.driver().memcpy_htod_async(target.data_ptr(), source, handle), stream)


def download(target: NDArray[np.uint8], source: Tensor, stream: torch.cuda.ExternalStream) -> None:
    """Start copying `source` on the GPU to `target`, contiguous and page-locked: as many bytes as `target` has.

    Raises:
        EngineError: if the driver refuses.
    """
    handle = launcher.pycuda_stream(stream)
    start(lambda: launcher.driver().memcpy_dtoh_async(target, source.data_ptr(), handle), stream)


def upload_rows(
    target: Tensor, source: NDArray[np.uint8], step: int, stream: torch.cuda.ExternalStream, others: bool = False
) -> None:
    """Start copying rows 0, step, 2 * step ... of `source` to the same rows of `target`, or with `others` all but them.

    Args:
        target: uint8 [H, W, 3] on the GPU.
        source: uint8 [H, W, 3], contiguous.
        step: rows from one to the next; with `others` H is a multiple of it.
        stream: where the copy is put.
        others: copy the rows between.

    Raises:
        EngineError: if the driver refuses.
    """
    height, width, channels = source.shape
    row, skipped = width * channels, int(others)
    copy = launcher.driver().Memcpy2D()
    copy.set_src_host(source[skipped:])
    copy.set_dst_device(target.data_ptr() + skipped * row)
    copy.src_pitch = copy.dst_pitch = step * row
    copy.width_in_bytes = (step - 1) * row if others else row
    copy.height = height // step if others else -(-height // step)
    handle = launcher.pycuda_stream(stream)
    start(lambda: copy(handle), stream)


def start(copy: Callable[[], None], stream: torch.cuda.ExternalStream) -> None:
    """Start a copy, in a thread in which nothing has made the context current yet too."""
    try:
        try:
            copy()
        except launcher.driver().LogicError as error:
            if "context" not in str(error):
                raise
            with launcher.Active(stream.device.index or 0):
                copy()
    except launcher.driver().Error as error:
        raise EngineError(
            f"A copy between host and GPU failed ({error}); restart the program, or use --device cpu."
        ) from error
