"""A frame as CUDA graphs: everything for one frame geometry, captured once and replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segstream.engines import cuda_glue as glue
from segstream.engines.cuda_glue import Layout
from segstream.engines.cuda_network import run
from segstream.engines.cuda_policy import heuristic_scores, policy_scores, rank_blocks, rank_map
from segstream.engines.cuda_weights import Conv, Weights
from segstream.geometry import Geometry

SLOTS = 2  # frames under way at once
STEPS = 16  # counts of high blocks are rounded up to multiples of 1/16 of the blocks


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
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            body()
    return graph


class Slot:
    """The buffers of one frame under way, beside the network's own."""

    def __init__(self, geometry: Geometry, device: torch.device) -> None:
        height, width = geometry.content
        shape = (geometry.rows, geometry.columns)
        self.pinned_frame = torch.empty(height, width, 3, dtype=torch.uint8, pin_memory=True)
        self.pinned_scores = torch.empty(shape, dtype=torch.float32, pin_memory=True)
        self.pinned_limits = torch.empty(2, dtype=torch.float32, pin_memory=True)
        self.pinned_count = torch.empty(1, dtype=torch.int32, pin_memory=True)
        self.frame = torch.empty(height, width, 3, dtype=torch.uint8, device=device)
        self.scores = torch.empty(shape, dtype=torch.float32, device=device)
        self.limits = torch.empty(2, dtype=torch.float32, device=device)
        self.rank = torch.empty(geometry.rows * geometry.columns, dtype=torch.int32, device=device)
        self.count = torch.empty(1, dtype=torch.int32, device=device)
        self.labels = torch.empty(geometry.frame, dtype=torch.uint8, device=device)
        self.high = torch.empty(shape, dtype=torch.uint8, device=device)
        self.events = [torch.cuda.Event(enable_timing=True) for _ in range(6)]
        self.graphs: dict[str, torch.cuda.CUDAGraph] = {}


class FrameGraphs:
    """Buffers and graphs of one geometry."""

    def __init__(
        self,
        weights: Weights,
        policy: tuple[Conv, ...] | None,
        norm: Tensor,
        geometry: Geometry,
        seamless: bool,
        stream: torch.cuda.ExternalStream,
        policy_stream: torch.cuda.ExternalStream,
    ) -> None:
        self.weights, self.policy, self.norm = weights, policy, norm
        self.geometry, self.seamless = geometry, seamless
        self.stream, self.policy_stream = stream, policy_stream
        device = norm.device
        self.total = geometry.rows * geometry.columns
        self.slots = [Slot(geometry, device) for _ in range(SLOTS)]
        height, width = geometry.content
        self.frame = torch.zeros(height, width, 3, dtype=torch.uint8, device=device)
        self.rank = torch.arange(self.total, dtype=torch.int32, device=device)
        self.high = torch.empty(geometry.rows, geometry.columns, dtype=torch.uint8, device=device)
        self.labels = torch.empty(geometry.frame, dtype=torch.uint8, device=device)
        self.blocks = torch.empty(1, geometry.rows, geometry.columns, dtype=torch.int32, device=device)
        self.tiles = torch.empty(4 * self.total, dtype=torch.int32, device=device)
        self.dense = glue.dense_layout(geometry.network, device)
        self.logits: Tensor | None = None
        self.pool = torch.cuda.graph_pool_handle()
        self.policy_pool = torch.cuda.graph_pool_handle()
        self.buckets: dict[int, torch.cuda.CUDAGraph] = {}

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

    def network(self, n_high: int) -> Tensor:
        """From frame and ranks to logits half [H/4, W/4, padded classes]."""
        rank_map(self.rank, self.high, self.blocks, self.tiles, n_high)
        return run(self.frame, self.norm, self.weights, self.layout(n_high))

    def whole_frame(self, n_high: int) -> None:
        """From frame and ranks to labels and grid."""
        logits = self.network(n_high)
        glue.frame_labels(logits, self.labels, self.geometry.content, self.weights.n_classes)

    def frame_graph(self, n_high: int) -> torch.cuda.CUDAGraph:
        """The graph of a whole frame with so many high blocks; captured at first use."""
        if n_high not in self.buckets:
            self.buckets[n_high] = capture(self.stream, self.pool, lambda: self.whole_frame(n_high))
        return self.buckets[n_high]

    def scores(self, slot: Slot, policy: str) -> Tensor:
        if policy == "learned" and self.policy is not None:
            return policy_scores(slot.frame, self.norm, self.policy, self.geometry)
        if policy == "heuristic":
            return heuristic_scores(slot.frame, self.norm, self.geometry)
        return slot.scores  # put there by the host

    def choose(self, slot: Slot, policy: str) -> None:
        """From a slot's frame to ranks and count."""
        slot.limits.copy_(slot.pinned_limits, non_blocking=True)
        rank_blocks(self.scores(slot, policy), slot.limits, slot.rank, slot.count)
        slot.pinned_count.copy_(slot.count, non_blocking=True)

    def policy_graph(self, slot: Slot, policy: str) -> torch.cuda.CUDAGraph:
        key = policy if policy in ("learned", "heuristic") else "host"
        if key not in slot.graphs:
            slot.graphs[key] = capture(self.policy_stream, self.policy_pool, lambda: self.choose(slot, key))
        return slot.graphs[key]
