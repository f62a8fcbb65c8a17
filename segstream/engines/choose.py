"""Choosing the engine for a device: never silently."""

from __future__ import annotations

import importlib.util
import logging
import re
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
    check_device(device)
    if device == "cpu":
        return cpu_engine(model)
    problem = cuda_problem()
    if problem is None:
        return cuda_engine(model, "cuda" if device == "auto" else device)
    if device != "auto":
        raise UsageError(f"the device {device!r} cannot be used: {problem}; use --device cpu")
    say_cpu(problem)
    return cpu_engine(model)


def check_device(device: str) -> None:
    """Refuse what is none of "auto", "cpu", "cuda" and "cuda:N", and a GPU that is not here.

    Raises:
        UsageError: with what was expected.
    """
    if device in ("auto", "cpu"):
        return
    if not re.fullmatch(r"cuda(:[0-9]{1,4})?", device):
        raise UsageError(f"there is no device {device!r}; use auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UsageError(f"the device {device!r} cannot be used: {cuda_problem()}; use --device cpu")
    cards = torch.cuda.device_count()
    if int(device[5:] or 0) >= cards:
        raise UsageError(
            f"there is no device {device!r}: torch sees {cards} GPU{'s' if cards > 1 else ''}, counted from 0; use "
            f"cuda:N with a smaller N, or see `segstream doctor`"
        )


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
