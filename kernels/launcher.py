"""Loads kernels through PyCUDA and launches them on torch's stream, in torch's (the primary) context."""

from __future__ import annotations

import atexit
import importlib.util
import struct
import threading
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from segstream.errors import EngineError
from segstream.kernels import compiler, early
from segstream.kernels.signatures import signatures

SCALARS = {torch.float32: "float", torch.float16: "__half", torch.bfloat16: "__nv_bfloat16"}
Argument = Tensor | int | float | None


class Backend(Protocol):
    """Something that runs a kernel; `values` are the arguments as numbers, `codes` their struct codes."""

    def __call__(
        self,
        file: str,
        name: str,
        defines: dict[str, str],
        grid: tuple[int, int],
        threads: int,
        shared: int,
        codes: str,
        values: list[int | float],
    ) -> None: ...


_host: list[Backend] = []
_lock = threading.Lock()


def set_host_backend(backend: Backend | None) -> None:
    """Run kernels whose tensors are on the CPU by `backend`, as the tests do to check them without a GPU."""
    _host[:] = [backend] if backend else []


def problem() -> str | None:
    """What keeps CUDA kernels from running on this machine and what to do about it, or None if nothing does."""
    if not torch.cuda.is_available():
        if torch.version.cuda is None:
            return "this torch is a build without CUDA: install torch with CUDA to use a GPU"
        return "torch sees no NVIDIA GPU: check that the driver is installed and `nvidia-smi` lists the card"
    if importlib.util.find_spec("pycuda") is None:
        return "PyCUDA is not installed: pip install pycuda"
    try:
        import pycuda.driver  # noqa: F401
    except ImportError as error:
        return f"PyCUDA cannot be loaded ({error}): reinstall it for this driver and Python"
    return compiler.compiler_problem()


def launch(
    file: str,
    name: str,
    grid: tuple[int, int],
    threads: int,
    arguments: list[Argument],
    *,
    scalar: torch.dtype = torch.float16,
    vec: int = 8,
    shared: int = 0,
    defines: dict[str, str] | None = None,
    starts_early: bool = False,
) -> None:
    """Launch a kernel on the current stream of the device its tensors are on.

    Args:
        file: the .cu file, beside this one.
        name: the kernel.
        grid: blocks along x and y; nothing is launched where one of them is 0.
        threads: threads in a block.
        arguments: tensors (passed as pointers), None (a null pointer), ints and floats, in the kernel's order.
        scalar: SCALAR the file is compiled for.
        vec: VEC the file is compiled for.
        shared: bytes of dynamic shared memory.
        defines: further macros.
        starts_early: let it come up while the kernel before it ends, where the GPU can (see `early`); it must call
            `after_previous`, and be the only thing the stream waits with (not follow a wait for another stream).

    Raises:
        EngineError: if the kernel cannot be built, loaded or launched.
    """
    codes = signatures(file)[name]
    if len(codes) != len(arguments):
        raise TypeError(f"kernel {name} takes {len(codes)} arguments, not {len(arguments)}")
    if min(grid) <= 0:
        if 0 in grid:
            return
        raise ValueError(f"kernel {name} cannot be launched with a grid of {grid}")
    values = [_value(argument) for argument in arguments]
    macros = {"SCALAR": SCALARS[scalar], "VEC": str(vec), **(defines or {})}
    device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
    if device.type == "cuda":
        _launch_cuda(file, name, macros, grid, threads, shared, codes, values, starts_early)
    elif _host:
        _host[0](file, name, macros, grid, threads, shared, codes, values)
    else:
        raise EngineError(f"The CUDA kernel {name} needs tensors on a GPU, not on {device}; move them with .cuda().")


def _value(argument: Argument) -> int | float:
    if isinstance(argument, Tensor):
        return argument.data_ptr()
    return 0 if argument is None else argument


@cache
def driver() -> Any:
    """PyCUDA's driver module, initialised on torch's context."""
    reason = problem()
    if reason:
        raise EngineError(f"The CUDA engine cannot run: {reason}; or use --device cpu.")
    import pycuda.driver as drv

    torch.cuda.init()
    torch.zeros(1, device="cuda")  # torch makes the primary context; PyCUDA then joins it
    drv.init()
    return drv


@cache
def context(device: int) -> Any:
    """The primary context of a device, retained through PyCUDA."""
    held = driver().Device(device).retain_primary_context()
    atexit.register(held.detach)
    return held


class Active:
    """Makes the primary context PyCUDA's current one for the length of a `with`."""

    def __init__(self, device: int) -> None:
        self.context = context(device)

    def __enter__(self) -> None:
        self.context.push()

    def __exit__(self, *_: object) -> None:
        self.context.pop()


_streams: dict[int, Any] = {}  # PyCUDA's streams by handle
_bridges: dict[tuple[int, int], Any] = {}  # our stream beside each foreign one, by device and handle


def new_stream(device: int) -> torch.cuda.ExternalStream:
    """A stream that both PyCUDA and torch know: PyCUDA cannot wrap a stream of torch's, so it has to make it."""
    with Active(device):
        stream = driver().Stream(1)  # 1: non-blocking, so that the default stream does not wait for it
    _streams[stream.handle] = stream
    return torch.cuda.ExternalStream(stream.handle, device=torch.device("cuda", device))


def pycuda_stream(stream: torch.cuda.ExternalStream) -> Any:
    """PyCUDA's object for a stream that `new_stream` made."""
    return _streams[stream.cuda_stream]


@cache
def architecture(device: int) -> str:
    major, minor = torch.cuda.get_device_capability(device)
    return "sm_90a" if (major, minor) == (9, 0) else f"sm_{major}{minor}"  # a: with the matrix products of Hopper alone


@cache
def _function(device: int, file: str, name: str, macros: tuple[tuple[str, str], ...], shared: int) -> Any:
    """A loaded kernel. A cached build that the driver refuses is dropped and built again, once."""
    drv, arch, defines = driver(), architecture(device), dict(macros)
    with _lock, Active(device):
        try:
            module = drv.module_from_buffer(compiler.machine_code(file, arch, defines))
        except drv.Error:
            compiler.forget(file, arch, defines)
            try:
                module = drv.module_from_buffer(compiler.machine_code(file, arch, defines))
            except drv.Error as error:
                raise EngineError(
                    f"The driver does not load the CUDA kernel {file} built for {arch} ({error}); update the driver to "
                    f"one of the toolkit's age or use --device cpu."
                ) from error
        function = module.get_function(name)
        if shared > 48 * 1024:
            function.set_attribute(drv.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, shared)
    return function


def _launch_cuda(
    file: str,
    name: str,
    macros: dict[str, str],
    grid: tuple[int, int],
    threads: int,
    shared: int,
    codes: str,
    values: list[int | float],
    starts_early: bool,
) -> None:
    device = torch.cuda.current_device()
    stream = torch.cuda.current_stream(device)
    handle = stream.cuda_stream
    if starts_early and handle in _streams and early.available(device):
        try:
            arch = architecture(device)
            early.submit(device, file, name, arch, macros, grid, threads, shared, codes, values, handle)
        except early.LaunchError as error:
            raise EngineError(
                f"The CUDA kernel {name} could not be launched ({error}); free GPU memory or restart the program."
            ) from error
        return
    function = _function(device, file, name, tuple(macros.items()), shared)
    packed = struct.pack(codes, *values)
    try:
        if handle == 0 or handle in _streams:
            _submit(device, function, grid, threads, packed, shared, _streams.get(handle))
            return
        # A stream of torch's own: go round by one that PyCUDA made; events order the two, in a graph capture too.
        bridge = _bridges.get((device, handle))
        if bridge is None:
            bridge = _bridges[(device, handle)] = new_stream(device)
        bridge.wait_stream(stream)
        _submit(device, function, grid, threads, packed, shared, _streams[bridge.cuda_stream])
        stream.wait_stream(bridge)
    except driver().Error as error:
        raise EngineError(
            f"The CUDA kernel {name} could not be launched ({error}); free GPU memory or restart the program."
        ) from error


def _submit(
    device: int, function: Any, grid: tuple[int, int], threads: int, packed: bytes, shared: int, stream: Any
) -> None:
    try:
        function._launch_kernel((*grid, 1), (threads, 1, 1), packed, shared, stream)
    except driver().LogicError as error:
        if "context" not in str(error):
            raise
        with Active(device):  # a thread (autograd's, say) in which nothing has made the context current yet
            function._launch_kernel((*grid, 1), (threads, 1, 1), packed, shared, stream)
