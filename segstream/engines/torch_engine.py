"""The plain torch engine: any model on any torch device, the reference that the fast engines are held against."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segstream.blocks import Grid
from segstream.engines.base import Choice, EngineOutput
from segstream.geometry import STRIDE, Geometry, to_input
from segstream.models.files import Model
from segstream.policies import score, select


class TorchEngine:
    """Runs a model by plain torch operations.

    Args:
        model: the model; its networks are moved to the device.
        device: any torch device.
    """

    def __init__(self, model: Model, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.name = f"torch ({self.device})"
        self.spec = model.spec
        self.network = model.network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.policy_net = None if model.policy_net is None else model.policy_net.to(self.device)

    @torch.inference_mode()
    def infer(self, image: NDArray[np.uint8], geometry: Geometry, choice: Choice) -> EngineOutput:
        clock = time.perf_counter
        started = clock()
        x = to_input(image, geometry, self.spec.mean, self.spec.std).to(self.device)
        prepared = clock()
        scores = score(choice.policy, x, geometry.block, self.policy_net, choice.seed)
        if choice.bonus is not None:
            scores = scores + torch.from_numpy(choice.bonus).to(self.device)
        grid = Grid(select(scores, choice.threshold, choice.budget), geometry.block)
        chosen = clock()
        logits = self.network(x, grid)
        ran = clock()
        labels = to_labels(logits, geometry)
        done = clock()
        ends = {"prepare": prepared, "policy": chosen, "network": ran, "labels": done}
        return EngineOutput(
            labels=labels,
            blocks=grid.high[0].cpu().numpy(),
            geometry=geometry,
            timings=stage_times(started, ends),
        )

    def frame_memory(self, geometry: Geometry) -> NDArray[np.uint8] | None:
        return None

    def close(self) -> None:
        pass


def stage_times(started: float, ends: dict[str, float]) -> dict[str, float]:
    """Milliseconds of each stage, from the seconds at which the stages ended."""
    times = {}
    for stage, end in ends.items():
        times[stage] = 1e3 * (end - started)
        started = end
    return times


def to_labels(logits: Tensor, geometry: Geometry) -> NDArray[np.uint8]:
    """Class of every pixel of the frame: logits [1, K, h, w] enlarged bilinearly to the frame, then the largest."""
    height, width = geometry.content
    content = logits[:, :, : height // STRIDE, : width // STRIDE].float()
    enlarged = F.interpolate(content, size=geometry.frame, mode="bilinear", align_corners=False)
    return enlarged.argmax(1)[0].to(torch.uint8).cpu().numpy()
