"""Launches kernels that come up while the kernel before them on the stream ends ("programmatic dependent launch").

PyCUDA has no call for it, so this goes to the driver's cuLaunchKernelEx. Only for kernels that call `after_previous`
(common.cuh) before they touch what others write.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any

import torch

from segstream.kernels import compiler

_TYPES: dict[str, Any] = {"P": ctypes.c_void_p, "i": ctypes.c_int, "q": ctypes.c_longlong, "f": ctypes.c_float}
_MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_OLDEST_DRIVER = 12030  # the first that keeps such starts in captured graphs
_lock = threading.Lock()


class _Attribute(ctypes.Structure):
    """CUlaunchAttribute with one int as its value."""

    _fields_ = [("id", ctypes.c_int), ("pad", ctypes.c_int), ("value", ctypes.c_int), ("rest", ctypes.c_char * 60)]


class _Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [(name, ctypes.c_uint) for name in ("gx", "gy", "gz", "bx", "by", "bz", "shared")]
    _fields_ += [("stream", ctypes.c_void_p), ("attributes", ctypes.c_void_p), ("count", ctypes.c_uint)]


_START_EARLY = _Attribute(6, 0, 1, b"")  # CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION


class LaunchError(RuntimeError):
    """What the driver answered."""


@cache
def _driver() -> Any:
    """The driver's library, or None where it is missing or too old."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        version = ctypes.c_int()
        if library.cuDriverGetVersion(ctypes.byref(version)) == 0 and version.value >= _OLDEST_DRIVER:
            return library if hasattr(library, "cuLaunchKernelEx") else None
    return None


@cache
def available(device: int) -> bool:
    """Whether the device and its driver can start kernels early: compute capability 9.0 and later, CUDA 12.3."""
    return torch.cuda.get_device_capability(device) >= (9, 0) and _driver() is not None


def _check(status: int, call: str) -> None:
    if status:
        raise LaunchError(f"{call} failed with error {status}")


@cache
def _function(device: int, file: str, name: str, arch: str, macros: tuple[tuple[str, str], ...], shared: int) -> Any:
    """A kernel of the current context."""
    library, module, function = _driver(), ctypes.c_void_p(), ctypes.c_void_p()
    code = compiler.machine_code(file, arch, dict(macros))
    _check(library.cuModuleLoadData(ctypes.byref(module), code), "cuModuleLoadData")
    _check(library.cuModuleGetFunction(ctypes.byref(function), module, name.encode()), "cuModuleGetFunction")
    if shared > 48 * 1024:
        _check(library.cuFuncSetAttribute(function, _MAX_DYNAMIC_SHARED, shared), "cuFuncSetAttribute")
    return function


def submit(
    device: int,
    file: str,
    name: str,
    arch: str,
    macros: dict[str, str],
    grid: tuple[int, int],
    threads: int,
    shared: int,
    codes: str,
    values: list[int | float],
    stream: int,
) -> None:
    """Launch a kernel of a .cu file on a stream (its handle) in the current context.

    Raises:
        LaunchError: if the driver refuses.
        EngineError: if the kernel cannot be built.
    """
    with _lock:
        function = _function(device, file, name, arch, tuple(macros.items()), shared)
    cells = [_TYPES[code](value) for code, value in zip(codes, values, strict=True)]
    pointers = (ctypes.c_void_p * len(cells))(*[ctypes.addressof(cell) for cell in cells])
    config = _Config(*grid, 1, threads, 1, 1, shared, stream, ctypes.addressof(_START_EARLY), 1)
    _check(_driver().cuLaunchKernelEx(ctypes.byref(config), function, pointers, None), "cuLaunchKernelEx")
