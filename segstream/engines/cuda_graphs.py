"""A frame as CUDA graphs: everything for one frame geometry, captured once and replayed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segstream.engines import cuda_glue as glue
from segstream.engines.cuda_glue import Layout
from segstream.engines.cuda_network import run
from segstream.engines.cuda_policy import heuristic_scores, policy_scores, rank_blocks, rank_map
from segstream.engines.cuda_weights import Conv, Weights
from segstream.geometry import Geometry

SLOTS = 2  # frames under way at once
STEPS = 16  # counts of high blocks are rounded up to multiples of 1/16 of the blocks

# Held while a graph is captured, and by other threads while they take page-locked memory: torch looks whether that
# belongs to the graph, and before it captures gives back to the system what is unused of it.
CAPTURING = threading.Lock()


def bucket(count: int, total: int, allowed: int) -> int:
    """How many blocks run high where the policy wants `count`: rounded up, within what the budget allows."""
    step = max(1, total // STEPS)
    return min(-(-count // step) * step, max(count, allowed), total)


def capture(stream: torch.cuda.ExternalStream, pool: Any, body: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """Run `body` twice, so that libraries choose their kernels and workspaces, and capture a third run."""
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True)
    with torch.inference_mode(), flags, torch.cuda.stream(stream):
        for _ in range(2):
            body()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with CAPTURING, torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            body()
    return graph


class Slot:
    """The buffers and graphs of one frame under way."""

    def __init__(self, geometry: Geometry, device: torch.device) -> None:
        height, width = geometry.content
        shape, total = (geometry.rows, geometry.columns), geometry.rows * geometry.columns
        self.pinned_scores = torch.zeros(shape, dtype=torch.float32, pin_memory=True)
        self.pinned_bonus = torch.zeros(shape, dtype=torch.float32, pin_memory=True)
        self.pinned_limits = torch.zeros(2, dtype=torch.float32, pin_memory=True)  # threshold, blocks that may be high
        self.pinned_choice = torch.zeros(1 + total, dtype=torch.int32, pin_memory=True)  # count, then ranks
        self.host_scores, self.host_bonus = self.pinned_scores.numpy(), self.pinned_bonus.numpy()
        self.host_limits, self.host_choice = self.pinned_limits.numpy(), self.pinned_choice.numpy()
        self.host_scaled: NDArray[np.uint8] | None = None  # where the host scales a frame to, if it has to: page-locked
        if geometry.content != geometry.frame:
            self.host_scaled = torch.zeros(height, width, 3, dtype=torch.uint8, pin_memory=True).numpy()
        self.frame = torch.zeros(height, width, 3, dtype=torch.uint8, device=device)
        self.scores = torch.zeros(shape, dtype=torch.float32, device=device)
        self.bonus = torch.zeros(shape, dtype=torch.float32, device=device)
        self.choice = torch.arange(-1, total, dtype=torch.int32, device=device)
        self.count, self.rank = self.choice[:1], self.choice[1:]
        self.labels = torch.empty(geometry.frame, dtype=torch.uint8, device=device)
        self.started, self.uploaded, self.choosing, self.chosen, self.running, self.ran, self.back = (
            torch.cuda.Event(enable_timing=True) for _ in range(7)
        )
        self.policies: dict[str, torch.cuda.CUDAGraph] = {}
        self.networks: dict[int, torch.cuda.CUDAGraph] = {}


class FrameGraphs:
    """Buffers and graphs of one geometry. Each slot has graphs of its own, so that nothing is copied on the GPU."""

    def __init__(
        self,
        weights: Weights,
        policy: tuple[Conv, ...] | None,
        detail: float | None,
        norm: Tensor,
        geometry: Geometry,
        seamless: bool,
        stream: torch.cuda.ExternalStream,
        policy_stream: torch.cuda.ExternalStream,
    ) -> None:
        self.weights, self.policy, self.detail, self.norm = weights, policy, detail, norm
        self.geometry, self.seamless = geometry, seamless
        self.stream, self.policy_stream = stream, policy_stream
        device = norm.device
        self.total = geometry.rows * geometry.columns
        self.slots = [Slot(geometry, device) for _ in range(SLOTS)]
        self.high = torch.empty(geometry.rows, geometry.columns, dtype=torch.uint8, device=device)
        self.blocks = torch.empty(1, geometry.rows, geometry.columns, dtype=torch.int32, device=device)
        self.tiles = torch.empty(4 * self.total, dtype=torch.int32, device=device)
        self.dense = glue.dense_layout(geometry.network, device)
        self.logits: Tensor | None = None
        self.pool = torch.cuda.graph_pool_handle()
        self.policy_pool = torch.cuda.graph_pool_handle()

    def layout(self, n_high: int) -> Layout:
        """Where the tiles lie with so many high blocks; all high is the dense network, which seamless tiles equal."""
        if n_high == self.total and self.seamless:
            return self.dense
        side = self.geometry.block // 2
        return Layout(
            self.blocks,
            self.tiles,
            self.geometry.rows,
            self.geometry.columns,
            self.total + 3 * n_high,
            (side, side),
            fine=n_high > 0,
            seamless=self.seamless,
            whole=False,
        )

    def network(self, slot: Slot, n_high: int) -> Tensor:
        """From a slot's frame and ranks to logits half [H/4, W/4, padded classes]."""
        rank_map(slot.rank, self.high, self.blocks, self.tiles, n_high)
        return run(slot.frame, self.norm, self.weights, self.layout(n_high))

    def whole_frame(self, slot: Slot, n_high: int) -> None:
        """From a slot's frame and ranks to its labels."""
        logits = self.network(slot, n_high)
        glue.frame_labels(logits, slot.labels, self.geometry.content, self.weights.n_classes)

    def frame_graph(self, slot: Slot, n_high: int) -> torch.cuda.CUDAGraph:
        """The graph of a whole frame with so many high blocks; captured at first use."""
        if n_high not in slot.networks:
            slot.networks[n_high] = capture(self.stream, self.pool, lambda: self.whole_frame(slot, n_high))
        return slot.networks[n_high]

    def scores(self, slot: Slot, policy: str) -> Tensor:
        """float [GH, GW], 0..1, of a slot's frame."""
        if policy == "learned" and self.policy is not None:
            return policy_scores(slot.frame, self.norm, self.policy, self.geometry, self.detail)
        if policy == "heuristic":
            return heuristic_scores(slot.frame, self.norm, self.geometry)
        slot.scores.copy_(slot.pinned_scores, non_blocking=True)  # the host's
        return slot.scores

    def choose(self, slot: Slot, policy: str) -> None:
        """From a slot's frame to ranks and count, on the GPU and in `pinned_choice`."""
        scores = self.scores(slot, policy)
        if policy != "host":
            slot.bonus.copy_(slot.pinned_bonus, non_blocking=True)
            scores = scores + slot.bonus
        rank_blocks(scores, slot.pinned_limits, slot.rank, slot.count)
        slot.pinned_choice.copy_(slot.choice, non_blocking=True)

    def policy_graph(self, slot: Slot, policy: str) -> torch.cuda.CUDAGraph:
        """The graph of "learned", "heuristic" or, for scores that come from the host, any other policy."""
        key = policy if policy in ("learned", "heuristic") else "host"
        if key not in slot.policies:
            slot.policies[key] = capture(self.policy_stream, self.policy_pool, lambda: self.choose(slot, key))
        return slot.policies[key]
