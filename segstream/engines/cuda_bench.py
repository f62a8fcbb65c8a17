"""Timing on a GPU: the dense network by torch, eager and compiled, against SegBlocks by the CUDA engine."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segstream.bench_rows import BenchRow
from segstream.engines.base import Choice
from segstream.engines.cuda import CudaEngine, page_locked
from segstream.engines.cuda_graphs import FrameGraphs, capture
from segstream.errors import UsageError
from segstream.flops import Costs, measure
from segstream.geometry import Geometry, fit, to_input
from segstream.models.files import Model
from segstream.scenes import render

Progress = Callable[[str, int, int], None]
Runner = Callable[[], object]
REPEATS = 20  # runs between two events
HD = (720, 1280)  # height and width at which whole frames are held against the network alone


def rows(
    model: Model,
    size: tuple[int, int],
    block: int,
    shares: Sequence[float],
    rounds: int,
    device: str,
    progress: Progress,
) -> tuple[list[BenchRow], list[str]]:
    """Rows of `segstream bench` on a GPU, and notes: medians over CUDA events, all rows taking turns in one run.

    A network row is from the frame on the device (for torch, the normalised image in half precision) to logits at
    stride 4, for given blocks. A "whole frame" row is from the frame in host memory to the class map in host memory,
    policy included. The last rows are of frames of 1280x720, whatever the size.

    Args:
        model: the model.
        size: width and height of the network input, whole blocks.
        block: side of a block in pixels.
        shares: shares of high blocks to time, 0..1.
        rounds: times each row is measured.
        device: "cuda", "cuda:N" or "auto".
        progress: called with what is going on, steps done and steps in all.

    Raises:
        UsageError: if there are no kernels for the model's encoder.
    """
    wide, tall = size
    geometry = fit((tall, wide), size, block, exact=True)
    image, _ = render(0, wide, tall)
    engine = CudaEngine(model, "cuda" if device == "auto" else device)
    if engine.plain is not None:
        raise UsageError(
            f"There are no CUDA kernels for the encoder {model.spec.encoder}, so there is nothing to compare on a GPU: "
            f"bench a model with a ResNet encoder, or use --device cpu."
        )
    costs = measure(model, block)
    total = geometry.rows * geometry.columns
    with torch.cuda.device(engine.device), torch.inference_mode():
        progress("compiling the dense network", 0, 1)
        entries, notes = dense_runners(model, image, geometry, engine)
        dense = len(entries)
        graphs = engine.frame_graphs(geometry)
        for share in shares:
            n_high = math.ceil(share * total - 1e-6)
            progress(f"capturing {n_high} high blocks", 0, 1)
            runner, megabytes = network_runner(engine, graphs, n_high)
            entries.append(("SegBlocks, network", engine.name, runner, n_high, megabytes))
        times = take_turns([entry[2] for entry in entries], engine, rounds, progress)
        taken = [median(each) for each in times]
        fastest = min(range(dense), key=lambda i: taken[i])
        found = []
        for (name, kind, _, blocks, peak), ms, each in zip(entries, taken, times, strict=True):
            ratio = median(a / b for a, b in zip(times[fastest], each, strict=True))
            found.append(make_row(name, kind, blocks, total, ms, ratio, peak, costs, geometry))
        for share in shares:
            progress("timing whole frames", 0, 1)
            found.append(whole_frame(engine, model, image, geometry, share, costs, taken[fastest]))
        share = min(shares, key=lambda share: abs(share - 0.4))
        found += high_definition(engine, model, block, share, costs, progress)
    engine.close()
    return found, notes


def versions() -> dict[str, str]:
    """Versions of what runs below torch."""
    found = {"CUDA": str(torch.version.cuda), "cuDNN": str(torch.backends.cudnn.version())}
    try:
        import pycuda

        found["PyCUDA"] = pycuda.VERSION_TEXT
    except (ImportError, AttributeError):
        pass
    return found


Entry = tuple[str, str, Runner, int | None, float | None]


def dense_runners(
    model: Model, image: np.ndarray, geometry: Geometry, engine: CudaEngine
) -> tuple[list[Entry], list[str]]:
    """The dense network in half precision, channels last, batch norms folded where a convolution comes before them;
    and notes on what was left out.
    """
    network = folded(model.network).to(engine.device).half().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = to_input(image, geometry, model.spec.mean, model.spec.std).to(engine.device).half()
    x = x.contiguous(memory_format=torch.channels_last)

    def eager() -> None:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
            network(x)

    peak = peak_mb(eager, engine)
    found: list[Entry] = [("dense, torch eager, channels last", "torch", eager, None, peak)]
    try:
        compiled = torch.compile(network, dynamic=False)
        graph = capture(engine.stream, torch.cuda.graph_pool_handle(), lambda: compiled(x))
        peak = peak_mb(lambda: compiled(x), engine)
        found.append(("dense, torch.compile and CUDA graph", "torch.compile", graph.replay, None, peak))
    except Exception as error:  # a compiler that is not there must not keep the other rows from being timed
        why = (str(error).splitlines() or [""])[0]
        return found, [f"torch.compile failed and was not timed ({type(error).__name__}: {why})"]
    return found, []


def peak_mb(body: Runner, engine: CudaEngine) -> float:
    """The megabytes that one run allocates at its peak, beside weights and inputs."""
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True)
    with flags, torch.cuda.stream(engine.stream):
        body()  # what the library allocates to find its fastest kernels does not count
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        body()
        torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def folded(network: nn.Module) -> nn.Module:
    """A copy with every batch norm that follows a convolution folded into it."""
    network = copy.deepcopy(network).cpu().float().eval()
    for module in list(network.modules()):
        for i in ("1", "2", "3"):
            conv, bn = getattr(module, f"conv{i}", None), getattr(module, f"bn{i}", None)
            if isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d):
                setattr(module, f"conv{i}", fuse_conv_bn_eval(conv, bn))
                setattr(module, f"bn{i}", nn.Identity())
        shortcut = getattr(module, "downsample", None)
        if isinstance(shortcut, nn.Sequential) and isinstance(shortcut[0], nn.Conv2d):
            module.downsample = nn.Sequential(fuse_conv_bn_eval(shortcut[0], shortcut[1]))  # type: ignore[arg-type]
    return network


def network_runner(engine: CudaEngine, graphs: FrameGraphs, n_high: int) -> tuple[Runner, float]:
    """A graph of the network with randomly placed high blocks, and the megabytes it takes."""
    slot = graphs.slots[0]
    order = torch.randperm(graphs.total, generator=torch.Generator().manual_seed(0)).to(torch.int32)

    def body() -> None:
        graphs.logits = graphs.network(slot, n_high)

    with torch.inference_mode():
        slot.rank.copy_(order)
        torch.cuda.synchronize()
        graph = capture(engine.stream, torch.cuda.graph_pool_handle(), body)
        graphs.logits = None
        return graph.replay, peak_mb(body, engine)


def take_turns(runners: list[Runner], engine: CudaEngine, rounds: int, progress: Progress) -> list[list[float]]:
    """Milliseconds of every runner in every round, over events around REPEATS runs on the engine's stream."""
    times: list[list[float]] = [[] for _ in runners]
    for turn in range(rounds + 1):
        progress("timing", turn, rounds + 1)
        for runner, taken in zip(runners, times, strict=True):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            with torch.cuda.stream(engine.stream):
                for _ in range(3):
                    runner()
                start.record()
                for _ in range(REPEATS):
                    runner()
                end.record()
            end.synchronize()
            if turn:  # the first round warms up
                taken.append(start.elapsed_time(end) / REPEATS)
    return times


def chosen(model: Model, share: float) -> Choice:
    """What makes `share` of the blocks high by the model's best policy."""
    return Choice("learned" if model.policy_net is not None else "heuristic", 0.0, share)


def whole_frame(
    engine: CudaEngine,
    model: Model,
    image: np.ndarray,
    geometry: Geometry,
    share: float,
    costs: Costs,
    dense_ms: float,
) -> BenchRow:
    """From a frame in host memory to its class map in host memory, by itself, at most `share` of the blocks high."""
    choice = chosen(model, share)
    ms, n_high = alone(engine, image, geometry, choice)
    name, total = f"SegBlocks, whole frame, {choice.policy} policy", geometry.rows * geometry.columns
    return make_row(name, engine.name, n_high, total, ms, dense_ms / ms, None, costs, geometry, choice.policy)


def high_definition(
    engine: CudaEngine, model: Model, block: int, share: float, costs: Costs, progress: Progress
) -> list[BenchRow]:
    """What bringing a frame of 1280x720 over and its class map back takes beside the network: network, whole frame by
    itself from ordinary and from page-locked memory, and each of many frames, two under way.
    """
    progress("timing whole frames of 1280x720", 0, 1)
    geometry = fit(HD, HD[::-1], block, exact=True)
    image, choice = render(0, HD[1], HD[0])[0], chosen(model, share)
    locked = page_locked(*HD)
    locked[:] = image
    ordinary, n_high = alone(engine, image, geometry, choice)
    direct, _ = alone(engine, locked, geometry, choice)
    in_turn = two_under_way(engine, image, geometry, choice)
    runner, megabytes = network_runner(engine, engine.frame_graphs(geometry), n_high)
    network = median(take_turns([runner], engine, 10, lambda what, done, total: None)[0])
    total = geometry.rows * geometry.columns
    policy = f"{choice.policy} policy"
    return [
        make_row(f"1280x720, {name}", engine.name, n_high, total, ms, None, peak, costs, geometry, choice.policy)
        for name, ms, peak in (
            ("network", network, megabytes),
            (f"whole frame, {policy}", ordinary, None),
            (f"whole frame in page-locked memory, {policy}", direct, None),
            (f"whole frames, two under way, {policy}", in_turn, None),
        )
    ]


def two_under_way(engine: CudaEngine, image: np.ndarray, geometry: Geometry, choice: Choice, count: int = 100) -> float:
    """Milliseconds a frame takes where the next one is started before it is collected."""
    engine.collect(engine.submit(image, geometry, choice))
    pending = [engine.submit(image, geometry, choice), engine.submit(image, geometry, choice)]
    engine.collect(pending.pop(0))
    started = time.perf_counter()
    for _ in range(count):
        pending.append(engine.submit(image, geometry, choice))
        engine.collect(pending.pop(0))
    taken = 1e3 * (time.perf_counter() - started) / count
    engine.collect(pending.pop(0))
    return taken


def alone(engine: CudaEngine, image: np.ndarray, geometry: Geometry, choice: Choice) -> tuple[float, int]:
    """Median milliseconds of a frame by itself, and its high blocks."""
    taken = []
    for turn in range(60):
        started = time.perf_counter()
        output = engine.infer(image, geometry, choice)
        if turn >= 10:
            taken.append(1e3 * (time.perf_counter() - started))
    return median(taken), int(output.blocks.sum())


def make_row(
    name: str,
    engine: str,
    n_high: int | None,
    total: int,
    ms: float,
    ratio: float | None,
    megabytes: float | None,
    costs: Costs,
    geometry: Geometry,
    policy: str = "high",
) -> BenchRow:
    shape = (geometry.rows, geometry.columns)
    gmacs = costs.dense_gmacs(*shape) if n_high is None else costs.gmacs(*shape, n_high, policy)
    share = 1.0 if n_high is None else n_high / total
    return BenchRow(name, engine, share, ms, 1e3 / ms, gmacs, megabytes, ratio)
