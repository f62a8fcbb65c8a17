"""Kernels that start while the one before them ends. That they wait for it is tested with the engine's own kernels, in
tests/segstream/engines/test_cuda_glue.py.
"""

from __future__ import annotations

import ctypes

import pytest
import torch

from segstream.kernels import early, launcher
from segstream.kernels.signatures import signatures
from tests.gpu import need_gpu


def test_the_structures_are_the_drivers() -> None:
    """CUlaunchConfig and CUlaunchAttribute of cuda.h on a 64-bit machine."""
    assert ctypes.sizeof(early._Attribute) == 72
    assert early._Attribute.value.offset == 8
    assert ctypes.sizeof(early._Config) == 56
    assert [
        getattr(early._Config, name).offset for name in ("gx", "bx", "shared", "stream", "attributes", "count")
    ] == [
        0,
        12,
        24,
        32,
        40,
        48,
    ]


@pytest.mark.cuda
def test_what_the_driver_refuses_is_an_error() -> None:
    need_gpu()
    device = torch.cuda.current_device()
    if torch.cuda.get_device_capability(device) < (9, 0):
        pytest.skip("GPUs before compute capability 9.0 start no kernel early")
    assert early.available(device)
    stream = launcher.new_stream(device)
    macros, codes = {"SCALAR": "__half", "VEC": "8"}, signatures("glue.cu")["pad_features"]
    arguments = (device, "glue.cu", "pad_features", launcher.architecture(device), macros)
    with pytest.raises(early.LaunchError, match="cuLaunchKernelEx failed with error"):  # there is no grid of 0 blocks
        early.submit(*arguments, (0, 1), 256, 0, codes, [0] * len(codes), stream.cuda_stream)
