"""The dense network run by what people would use instead: the competitors that `segstream bench` measures against."""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import logging
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segstream.models.swiftnet import SwiftNet

Runner = Callable[[], object]


def dense_torch(network: SwiftNet, x: Tensor) -> Runner:
    """Torch eager at its best: channels last, the encoder's batch norms folded into its convolutions."""
    folded = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in folded.modules():
        for conv, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")):
            if hasattr(module, conv) and hasattr(module, norm):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
        shortcut = getattr(module, "downsample", None)
        if isinstance(shortcut, nn.Sequential):
            shortcut[0] = fuse_conv_bn_eval(cast(nn.Conv2d, shortcut[0]), cast(nn.BatchNorm2d, shortcut[1]))
            shortcut[1] = nn.Identity()
    x = x.contiguous(memory_format=torch.channels_last)
    return lambda: folded(x)


def to_onnx(network: SwiftNet, x: Tensor) -> bytes:
    """The dense network as an ONNX model for this very input."""
    loud = logging.getLogger("torch.onnx")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, of no use to who times a network
            program: Any = torch.onnx.export(network, (x,), dynamo=True, verbose=False, external_data=False)
    finally:
        loud.setLevel(level)
    return program.model_proto.SerializeToString()


def onnxruntime_runner(model: bytes, x: Tensor) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: x.contiguous().numpy()}
    return lambda: session.run(None, inputs)


def openvino_runner(model: bytes, x: Tensor) -> Runner:
    import openvino

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",  # without it OpenVINO computes in bfloat16 where the processor can
    }
    compiled = core.compile_model(core.read_model(model=model), "CPU", settings)
    values = x.contiguous().numpy()
    return lambda: compiled(values)


EXPORTED = {"onnxruntime": onnxruntime_runner, "openvino": openvino_runner}


def dense_runners(network: SwiftNet, x: Tensor) -> tuple[dict[str, Callable[[], Runner]], list[str]]:
    """Ways to run the dense network on the CPU, by engine, each made when called; and notes on those left out."""
    makers: dict[str, Callable[[], Runner]] = {"torch": lambda: dense_torch(network, x)}
    notes = []
    exporter = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    present = [name for name in EXPORTED if importlib.util.find_spec(name) is not None]
    for name in EXPORTED:
        if name not in present:
            notes.append(f"{name} is not installed, so it was not timed; install it with `pip install {name}`")
    if present and exporter:
        notes.append(
            f"{' and '.join(present)} need {' and '.join(exporter)} to take the network over and were not timed; "
            f"install with `pip install {' '.join(exporter)}`"
        )
    elif present:
        model = to_onnx(network, x)
        for name in present:
            makers[name] = lambda make=EXPORTED[name]: make(model, x)  # type: ignore[misc]
    return makers, notes


def versions(names: list[str]) -> dict[str, str]:
    """Versions of installed packages."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
