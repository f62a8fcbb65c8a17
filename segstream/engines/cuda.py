"""The CUDA engine: SegBlocks on uniform tiles, a whole frame in CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segstream.engines.base import Choice, EngineOutput
from segstream.engines.choose import check_device
from segstream.engines.cuda_graphs import CAPTURING, SLOTS, FrameGraphs, Slot, bucket
from segstream.engines.cuda_policy import frame_norm, policy_step
from segstream.engines.cuda_weights import pack, pack_policy, supports
from segstream.engines.frame_memory import BoundedMemory
from segstream.engines.torch_engine import TorchEngine
from segstream.errors import EngineError, UsageError
from segstream.geometry import Geometry, scale_image, to_input
from segstream.kernels import copies, launcher
from segstream.models.files import Model
from segstream.policies import score

GEOMETRIES = 3  # frame sizes whose graphs are kept
FRAME_MEMORY = 256 << 20  # bytes of page-locked memory for frames on their way, in the whole process
HOST_POLICIES = ("random", "high", "low")  # whose scores the host knows


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


def page_locked(height: int, width: int) -> NDArray[np.uint8]:
    """An array uint8 [H, W, 3] for a frame that the GPU reads as it lies, without a copy on the host first.

    Raises:
        EngineError: if there is no GPU, or the system has no such memory left.
    """
    reason = problem()
    if reason:
        raise EngineError(f"Page-locked memory needs a GPU: {reason}; or use an ordinary array.")
    return _page_locked(height, width)


def _page_locked(height: int, width: int) -> NDArray[np.uint8]:
    try:
        return torch.empty(height, width, 3, dtype=torch.uint8, pin_memory=True).numpy()
    except RuntimeError as error:
        raise EngineError(
            f"The system gives no page-locked memory for a frame of {width}x{height} pixels; use an ordinary array."
        ) from error


def _unless_capturing(height: int, width: int) -> NDArray[np.uint8] | None:
    """As `page_locked` on a machine with a GPU; None while a graph is captured."""
    if not CAPTURING.acquire(blocking=False):
        return None
    try:
        return _page_locked(height, width)
    finally:
        CAPTURING.release()


frames_under_way = BoundedMemory(_unless_capturing, FRAME_MEMORY)


@dataclass(slots=True, eq=False)
class Pending:
    """A frame under way: what `collect` needs, and what the GPU still reads."""

    slot: Slot
    source: NDArray[np.uint8]
    n_high: int
    labels: NDArray[np.uint8]  # page-locked [H, W]
    geometry: Geometry
    output: EngineOutput | None = None  # once it is finished


class CudaEngine:
    """Runs models with a ResNet encoder on an NVIDIA GPU; others by plain torch on the same GPU.

    `infer` takes one frame after the other. With `submit` and `collect` two frames are under way at once: the policy of
    the second looks at its frame, and the class map of the first is copied back, while the network runs.

    Args:
        model: the model.
        device: "cuda" or "cuda:N".

    Raises:
        UsageError: if there is no such GPU, or it cannot be used.
    """

    def __init__(self, model: Model, device: str = "cuda") -> None:
        check_device(device)
        reason = problem()
        if reason:
            raise UsageError(f"The CUDA engine cannot run: {reason}; or use --device cpu.")
        self.device = torch.device(device if ":" in device else f"cuda:{torch.cuda.current_device()}")
        index = self.device.index or 0
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
            self.upload_stream = launcher.new_stream(index)
            self.download_stream = launcher.new_stream(index)
            self.weights = pack(model.network, self.device)
            self.policy = None if model.policy_net is None else pack_policy(model.policy_net, self.device)
            self.detail = None if model.policy_net is None else model.policy_net.detail_weight
            self.norm = frame_norm(self.spec.mean, self.spec.std, self.device)
            torch.cuda.synchronize(self.device)
        self.under_way: list[Pending] = []

    def infer(self, image: NDArray[np.uint8], geometry: Geometry, choice: Choice) -> EngineOutput:
        """Segment an RGB image uint8 [H, W, 3] whose sizes are `geometry`."""
        if self.plain is not None:
            with one_sentence(geometry):
                return self.plain.infer(image, geometry, choice)
        return self.collect(self.submit(image, geometry, choice))

    def frame_memory(self, geometry: Geometry) -> NDArray[np.uint8] | None:
        """Page-locked memory for a frame, as far as there is some; none for one that the host scales, or torch runs."""
        if self.plain is not None or geometry.content != geometry.frame:
            return None
        return frames_under_way.take(*geometry.frame)

    def frame_graphs(self, geometry: Geometry) -> FrameGraphs:
        if geometry not in self.graphs:
            while len(self.graphs) >= GEOMETRIES:
                torch.cuda.synchronize(self.device)
                self.graphs.pop(next(iter(self.graphs)))
            seamless = self.spec.interpolation == "seamless"
            self.graphs[geometry] = FrameGraphs(
                self.weights, self.policy, self.detail, self.norm, geometry, seamless, self.stream, self.policy_stream
            )
            torch.cuda.synchronize(self.device)
        return self.graphs[geometry]

    def submit(self, image: NDArray[np.uint8], geometry: Geometry, choice: Choice) -> Pending:
        """Start a frame. At most two may be under way; the oldest is finished first where a third is started.

        Args:
            image: uint8 [H, W, 3]; it must not be changed before the frame is collected.
        """
        while len(self.under_way) >= SLOTS:
            self._finish(self.under_way[0])
        with one_sentence(geometry), torch.cuda.device(self.device), torch.inference_mode():
            before = torch.cuda.current_stream(self.device)
            try:  # setting streams one after the other takes less time than a `with` for each
                pending = self._start(image, geometry, choice)
            finally:
                torch.cuda.set_stream(before)
        self.under_way.append(pending)
        return pending

    def _start(self, image: NDArray[np.uint8], geometry: Geometry, choice: Choice) -> Pending:
        """Start a frame, uint8 [H, W, 3]; leaves another stream of torch's current."""
        graphs = self.frame_graphs(geometry)
        slot = next(slot for slot in graphs.slots if all(slot is not pending.slot for pending in self.under_way))
        allowed = int(choice.budget * graphs.total + 1e-6)
        slot.host_limits[:] = choice.threshold, allowed
        slot.host_bonus[:] = 0 if choice.bonus is None else choice.bonus
        source = np.ascontiguousarray(scale_image(image, geometry, slot.host_scaled))
        step = policy_step(geometry)
        some_rows = self.detail is None and step > 1 and geometry.content[0] % step == 0  # do for the learned policy
        if choice.policy == "learned" and some_rows:
            self._upload(graphs, slot, source, step)
        else:
            self._upload(graphs, slot, source)
            self._start_policy(graphs, slot, image, choice)
        n_high = bucket(self._count(slot, choice, allowed), graphs.total, allowed)
        return Pending(slot, source, n_high, self._launch(graphs, slot, n_high), geometry)

    def _upload(self, graphs: FrameGraphs, slot: Slot, image: NDArray[np.uint8], step: int | None = None) -> None:
        """Bring a frame to the GPU, which reads page-locked memory as it lies. From ordinary memory the driver copies,
        in this thread, through a small buffer of its own that stays in the processor's cache.

        Args:
            image: uint8 [h, w, 3], contiguous.
            step: every which row the learned policy looks at: they go first, and it runs while the others follow. The
                height is a multiple of it.
        """
        slot.started.record(self.upload_stream)  # the stream of its end: on a busy card another's begins later
        if step is None:
            copies.upload(slot.frame, image, self.upload_stream)
        else:
            copies.upload_rows(slot.frame, image, step, self.policy_stream)
            self._replay_policy(graphs, slot, "learned")
            copies.upload_rows(slot.frame, image, step, self.upload_stream, others=True)
        slot.uploaded.record(self.upload_stream)

    def _start_policy(self, graphs: FrameGraphs, slot: Slot, image: NDArray[np.uint8], choice: Choice) -> None:
        """Start a policy on a frame that is on the GPU as a whole, or on scores from the host."""
        if choice.policy in ("high", "low"):
            slot.host_scores.fill(float(choice.policy == "high"))
        elif choice.policy == "random":
            x = to_input(image, graphs.geometry, self.spec.mean, self.spec.std)
            slot.host_scores[:] = score("random", x, graphs.geometry.block, seed=choice.seed)[0].numpy()
        if choice.policy in HOST_POLICIES:
            slot.host_scores += slot.host_bonus
        else:
            self.policy_stream.wait_event(slot.uploaded)
        self._replay_policy(graphs, slot, choice.policy)

    def _replay_policy(self, graphs: FrameGraphs, slot: Slot, policy: str) -> None:
        graph = graphs.policy_graph(slot, policy)
        slot.choosing.record(self.policy_stream)
        torch.cuda.set_stream(self.policy_stream)
        graph.replay()
        slot.chosen.record(self.policy_stream)

    def _count(self, slot: Slot, choice: Choice, allowed: int) -> int:
        """How many blocks the policy wants high: the one thing of the GPU's that the host has to know."""
        if choice.policy == "learned" and choice.threshold <= 0:
            return allowed  # scores lie above 0, so only the budget decides; ranks are read where the frame is finished
        if choice.policy in HOST_POLICIES:
            return min(int((slot.host_scores > slot.host_limits[0]).sum()), allowed)
        slot.chosen.synchronize()
        return int(slot.host_choice[0])

    def _launch(self, graphs: FrameGraphs, slot: Slot, n_high: int) -> NDArray[np.uint8]:
        """Start the network, and then the copy of the class map to the page-locked array that is returned."""
        graph = graphs.frame_graph(slot, n_high)
        self.stream.wait_event(slot.uploaded)
        self.stream.wait_event(slot.chosen)
        slot.running.record(self.stream)
        torch.cuda.set_stream(self.stream)
        graph.replay()
        slot.ran.record(self.stream)
        labels = torch.empty(graphs.geometry.frame, dtype=torch.uint8, pin_memory=True).numpy()  # while the GPU works
        stream = self.stream
        if self.under_way:  # the next frame's network need not wait for the copy
            stream = self.download_stream
            stream.wait_event(slot.ran)
        copies.download(labels, slot.labels, stream)
        slot.back.record(stream)
        return labels

    def _finish(self, pending: Pending) -> EngineOutput:
        if pending.output is None:
            slot, geometry = pending.slot, pending.geometry
            with one_sentence(geometry):
                slot.uploaded.synchronize()
                slot.chosen.synchronize()
                blocks = (slot.host_choice[1:] < pending.n_high).reshape(geometry.rows, geometry.columns)
                timings = {  # as far as they are known while the network runs
                    "prepare": slot.started.elapsed_time(slot.uploaded),
                    "policy": slot.choosing.elapsed_time(slot.chosen),
                }
                slot.back.synchronize()
                timings["network"] = slot.running.elapsed_time(slot.ran)
                timings["labels"] = slot.ran.elapsed_time(slot.back)
            pending.output = EngineOutput(pending.labels, blocks, geometry, timings)
            self.under_way.remove(pending)
        return pending.output

    def collect(self, pending: Pending) -> EngineOutput:
        """Wait for a frame. Its class map is page-locked memory that belongs to the output alone.

        Timings are the GPU's; "policy" runs while the rest of the frame is brought over ("prepare").
        """
        return self._finish(pending)

    def close(self) -> None:
        """Give back graphs and buffers."""
        if self.plain is None:
            torch.cuda.synchronize(self.device)
            self.under_way.clear()
            self.graphs.clear()
            torch.cuda.empty_cache()
