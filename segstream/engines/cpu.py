"""The CPU engine: SwiftNet with a ResNet-18 encoder, several times as fast as plain torch, by torch alone."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from segstream.engines.base import Choice, EngineOutput
from segstream.engines.cpu_labels import to_labels
from segstream.engines.cpu_network import RowNetwork
from segstream.engines.torch_engine import stage_times
from segstream.geometry import STRIDE, Geometry, to_input
from segstream.models.files import Model
from segstream.policies import score, select


def unsupported(model: Model) -> str | None:
    """Why the CPU engine cannot run a model, or None."""
    if model.spec.encoder != "resnet18":
        return f"it knows the encoder resnet18 only, not {model.spec.encoder}"
    if not model.network.seamless:
        return "it knows seamless interpolation only, not the block-local one of the authors' checkpoints"
    return None


class CpuEngine:
    """Runs a model for which `unsupported` finds nothing.

    Args:
        model: the model; its weights are copied.
    """

    name = "cpu"

    def __init__(self, model: Model) -> None:
        self.spec = model.spec
        self.policy_net = model.policy_net
        with torch.inference_mode():
            self.network = RowNetwork(model.network)

    @torch.inference_mode()
    def infer(self, image: NDArray[np.uint8], geometry: Geometry, choice: Choice) -> EngineOutput:
        clock = time.perf_counter
        started = clock()
        x = to_input(image, geometry, self.spec.mean, self.spec.std)
        prepared = clock()
        scores = score(choice.policy, x, geometry.block, self.policy_net, choice.seed)
        if choice.bonus is not None:
            scores = scores + torch.from_numpy(choice.bonus)
        high = select(scores, choice.threshold, choice.budget)[0].numpy()
        chosen = clock()
        logits = self.network(x, high, geometry.block)  # [1, K, h, w]
        ran = clock()
        height, width = geometry.content
        content = logits[0].permute(1, 2, 0)[: height // STRIDE, : width // STRIDE]
        labels = to_labels(content, geometry.frame)
        ends = {"prepare": prepared, "policy": chosen, "network": ran, "labels": clock()}
        return EngineOutput(labels=labels, blocks=high, geometry=geometry, timings=stage_times(started, ends))

    def frame_memory(self, geometry: Geometry) -> NDArray[np.uint8] | None:
        return None

    def close(self) -> None:
        self.network.work.clear()
