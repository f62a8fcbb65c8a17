"""The CUDA engine: SegBlocks on uniform tiles, a whole frame in CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segstream.engines.base import Choice, EngineOutput
from segstream.engines.cuda_graphs import SLOTS, FrameGraphs, Slot, bucket
from segstream.engines.cuda_policy import frame_norm
from segstream.engines.cuda_weights import pack, pack_policy, supports
from segstream.engines.torch_engine import TorchEngine
from segstream.errors import EngineError
from segstream.geometry import Geometry, scale_image, to_input
from segstream.kernels import launcher
from segstream.models.files import Model
from segstream.policies import score

GEOMETRIES = 3  # frame sizes whose graphs are kept


def problem() -> str | None:
    """Why the CUDA engine cannot run on this machine and what to do about it, or None."""
    return launcher.problem()


def memory_error(geometry: Geometry) -> EngineError:
    rows, columns = geometry.network
    return EngineError(
        f"The GPU has too little free memory for a network input of {columns}x{rows} pixels; choose a smaller "
        f"--size, stop other programs on the GPU, or use --device cpu."
    )


@contextmanager
def one_sentence(geometry: Geometry) -> Iterator[None]:
    """Turn what torch raises for a failing GPU into an EngineError that says what to do."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise memory_error(geometry) from error
    except RuntimeError as error:
        if isinstance(error, EngineError):
            raise
        if "out of memory" in str(error) or "ALLOC_FAILED" in str(error):
            raise memory_error(geometry) from error
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EngineError(
            f"The GPU failed ({first}); restart the program, and if it happens again check the card with nvidia-smi or "
            f"use --device cpu."
        ) from error


@dataclass(slots=True, eq=False)
class Pending:
    """A frame under way: what `collect` needs."""

    graphs: FrameGraphs
    slot: Slot
    labels: Tensor  # pinned uint8 [H, W]
    high: Tensor  # pinned uint8 [GH, GW]
    geometry: Geometry
    done: bool = field(default=False)


class CudaEngine:
    """Runs models with a ResNet encoder on an NVIDIA GPU; others by plain torch on the same GPU.

    `infer` takes one frame after the other. With `submit` and `collect` two frames are under way at once: the policy of
    the second looks at its frame, and the class map of the first is copied back, while the network runs.

    Args:
        model: the model.
        device: "cuda" or "cuda:N".

    Raises:
        EngineError: if the GPU cannot be used.
    """

    def __init__(self, model: Model, device: str = "cuda") -> None:
        reason = problem()
        if reason:
            raise EngineError(f"The CUDA engine cannot run: {reason}; or use --device cpu.")
        self.device = torch.device(device if ":" in device else f"cuda:{torch.cuda.current_device()}")
        index = self.device.index or 0
        if index >= torch.cuda.device_count():
            raise EngineError(f"There is no GPU number {index}; nvidia-smi lists the cards, counted from 0.")
        self.spec = model.spec
        self.plain: TorchEngine | None = None
        self.graphs: dict[Geometry, FrameGraphs] = {}
        card = torch.cuda.get_device_name(self.device)
        if not supports(model.network):
            self.plain = TorchEngine(model, str(self.device))
            self.name = f"torch ({card}; no kernels for {self.spec.encoder} yet)"
            return
        self.name = f"CUDA ({card})"
        with torch.cuda.device(self.device):
            self.stream = launcher.new_stream(index)
            self.policy_stream = launcher.new_stream(index)
            self.upload = torch.cuda.Stream(self.device)
            self.download = torch.cuda.Stream(self.device)
            self.weights = pack(model.network, self.device)
            self.policy = None if model.policy_net is None else pack_policy(model.policy_net, self.device)
            self.norm = frame_norm(self.spec.mean, self.spec.std, self.device)
            torch.cuda.synchronize(self.device)
        self.turn = 0
        self.under_way: list[Pending] = []

    def infer(self, image: NDArray[np.uint8], geometry: Geometry, choice: Choice) -> EngineOutput:
        """Segment an RGB image uint8 [H, W, 3] whose sizes are `geometry`."""
        if self.plain is not None:
            with one_sentence(geometry):
                return self.plain.infer(image, geometry, choice)
        return self.collect(self.submit(image, geometry, choice))

    def frame_graphs(self, geometry: Geometry) -> FrameGraphs:
        if geometry not in self.graphs:
            while len(self.graphs) >= GEOMETRIES:
                torch.cuda.synchronize(self.device)
                self.graphs.pop(next(iter(self.graphs)))
            seamless = self.spec.interpolation == "seamless"
            self.graphs[geometry] = FrameGraphs(
                self.weights, self.policy, self.norm, geometry, seamless, self.stream, self.policy_stream
            )
            torch.cuda.synchronize(self.device)
        return self.graphs[geometry]

    def submit(self, image: NDArray[np.uint8], geometry: Geometry, choice: Choice) -> Pending:
        """Start a frame. At most two may be under way; the oldest is finished first where a third is started."""
        while len(self.under_way) >= SLOTS:
            self._finish(self.under_way[0])
        with one_sentence(geometry), torch.cuda.device(self.device), torch.inference_mode():
            graphs = self.frame_graphs(geometry)
            slot = graphs.slots[self.turn]
            self.turn = (self.turn + 1) % SLOTS
            self._upload(slot, image, geometry)
            count = self._choose(graphs, slot, image, geometry, choice)
            allowed = int(choice.budget * graphs.total + 1e-6)
            pending = self._launch(graphs, slot, bucket(count, graphs.total, allowed), geometry)
        self.under_way.append(pending)
        return pending

    def _upload(self, slot: Slot, image: NDArray[np.uint8], geometry: Geometry) -> None:
        scaled = np.ascontiguousarray(scale_image(image, geometry))
        if scaled.flags.writeable:
            slot.pinned_frame.copy_(torch.from_numpy(scaled))  # by several threads
        else:
            np.copyto(slot.pinned_frame.numpy(), scaled)
        with torch.cuda.stream(self.upload):
            slot.events[0].record()
            slot.frame.copy_(slot.pinned_frame, non_blocking=True)
            slot.events[1].record()

    def _choose(
        self, graphs: FrameGraphs, slot: Slot, image: NDArray[np.uint8], geometry: Geometry, choice: Choice
    ) -> int:
        """Run the policy and wait for its count of high blocks: the one thing the host has to know."""
        if choice.policy in ("high", "low"):
            slot.pinned_scores.fill_(float(choice.policy == "high"))
        elif choice.policy == "random":
            x = to_input(image, geometry, self.spec.mean, self.spec.std)
            slot.pinned_scores.copy_(score("random", x, geometry.block, seed=choice.seed)[0])
        slot.pinned_limits[0] = choice.threshold
        slot.pinned_limits[1] = float(int(choice.budget * graphs.total + 1e-6))
        graph = graphs.policy_graph(slot, choice.policy)
        with torch.cuda.stream(self.policy_stream):
            self.policy_stream.wait_event(slot.events[1])
            if choice.policy not in ("learned", "heuristic"):
                slot.scores.copy_(slot.pinned_scores, non_blocking=True)
            graph.replay()
            slot.events[2].record()
        slot.events[2].synchronize()
        return int(slot.pinned_count)

    def _launch(self, graphs: FrameGraphs, slot: Slot, n_high: int, geometry: Geometry) -> Pending:
        graph = graphs.frame_graph(n_high)
        labels = torch.empty(geometry.frame, dtype=torch.uint8, pin_memory=True)
        high = torch.empty(geometry.rows, geometry.columns, dtype=torch.uint8, pin_memory=True)
        with torch.cuda.stream(self.stream):
            self.stream.wait_event(slot.events[2])
            graphs.frame.copy_(slot.frame)
            graphs.rank.copy_(slot.rank)
            slot.events[3].record()
            graph.replay()
            slot.labels.copy_(graphs.labels)
            slot.high.copy_(graphs.high)
            slot.events[4].record()
        with torch.cuda.stream(self.download):
            self.download.wait_event(slot.events[4])
            labels.copy_(slot.labels, non_blocking=True)
            high.copy_(slot.high, non_blocking=True)
            slot.events[5].record()
        return Pending(graphs, slot, labels, high, geometry)

    def _finish(self, pending: Pending) -> None:
        if not pending.done:
            with one_sentence(pending.geometry):
                pending.slot.events[5].synchronize()
            pending.done = True
        if pending in self.under_way:
            self.under_way.remove(pending)

    def collect(self, pending: Pending) -> EngineOutput:
        """Wait for a frame. Its arrays are pinned memory that belongs to the output alone."""
        self._finish(pending)
        start, uploaded, chosen, ready, ran, back = pending.slot.events
        timings = {
            "prepare": start.elapsed_time(uploaded),
            "policy": uploaded.elapsed_time(chosen),
            "network": ready.elapsed_time(ran),
            "labels": ran.elapsed_time(back),
        }
        return EngineOutput(
            labels=pending.labels.numpy(),
            blocks=pending.high.numpy().astype(bool),
            geometry=pending.geometry,
            timings=timings,
        )

    def close(self) -> None:
        """Give back graphs and buffers."""
        if self.plain is None:
            torch.cuda.synchronize(self.device)
            self.under_way.clear()
            self.graphs.clear()
            torch.cuda.empty_cache()
