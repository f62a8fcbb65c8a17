"""Choosing the engine for a device: never silently."""

from __future__ import annotations

import importlib.util
import logging
import shutil
from functools import cache

import torch

from segstream.engines.base import Engine
from segstream.engines.torch_engine import TorchEngine
from segstream.errors import UsageError
from segstream.models.files import Model

log = logging.getLogger("segstream")


def make_engine(model: Model, device: str = "auto") -> Engine:
    """Make the fastest engine that runs here, and log once which one it is and why.

    Args:
        model: the model to run.
        device: "auto", "cpu", "cuda", "cuda:N", or "torch:DEVICE" for the plain torch engine.

    Raises:
        UsageError: if the device is unknown, or was asked for by name and cannot be used.
    """
    if device.startswith("torch:"):
        return torch_engine(model, device.removeprefix("torch:"))
    if device == "cpu":
        return cpu_engine(model)
    if device == "auto":
        problem = cuda_problem()
        if problem is None:
            return cuda_engine(model, "cuda")
        say_cpu(problem)
        return cpu_engine(model)
    if device == "cuda" or (device.startswith("cuda:") and device[5:].isdigit()):
        problem = cuda_problem()
        if problem is not None:
            raise UsageError(f"the device {device!r} cannot be used: {problem}; use --device cpu")
        return cuda_engine(model, device)
    raise UsageError(f"there is no device {device!r}; use auto, cpu, cuda or cuda:N")


@cache
def say_cpu(problem: str) -> None:
    """Say once that the CPU is used and why: aloud where there is a GPU, which the user may have counted on."""
    gpu = torch.cuda.is_available() or shutil.which("nvidia-smi") is not None
    log.log(logging.WARNING if gpu else logging.INFO, "running on the CPU: %s", problem)


def cuda_problem() -> str | None:
    """Why the CUDA engine cannot run here, or None."""
    if importlib.util.find_spec("segstream.engines.cuda") is None:
        return "this version has no CUDA engine"
    from segstream.engines.cuda import problem

    return problem()


def cuda_engine(model: Model, device: str) -> Engine:
    from segstream.engines.cuda import CudaEngine

    engine = CudaEngine(model, device)
    log.info("engine: %s", engine.name)
    return engine


def cpu_engine(model: Model) -> Engine:
    if importlib.util.find_spec("segstream.engines.cpu") is None:
        return torch_engine(model, "cpu")
    from segstream.engines.cpu import CpuEngine, unsupported

    reason = unsupported(model)
    if reason is not None:
        log.warning("running on plain torch, not on the fast CPU engine: %s", reason)
        return torch_engine(model, "cpu")
    engine = CpuEngine(model)
    log.info("engine: %s", engine.name)
    return engine


def torch_engine(model: Model, device: str) -> Engine:
    try:
        engine = TorchEngine(model, str(torch.device(device)))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"torch cannot use the device {device!r} ({error}); use --device cpu") from error
    log.info("engine: %s", engine.name)
    return engine
