"""Timing the network and the whole pipeline: dense against SegBlocks, in one run."""

from __future__ import annotations

import importlib.util
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segstream.bench_rivals import Runner, dense_runners, versions
from segstream.bench_rows import BenchReport, BenchRow
from segstream.blocks import Grid
from segstream.blocks.grid import BLOCK_SIDES
from segstream.engines.choose import make_engine
from segstream.engines.cpu import CpuEngine
from segstream.errors import UsageError
from segstream.flops import Costs, measure
from segstream.geometry import fit, to_input
from segstream.models import DEFAULT_MODEL, Model, load_model
from segstream.policies import score, select
from segstream.scenes import render

__all__ = ["BenchReport", "BenchRow", "run_bench"]

Progress = Callable[[str, int, int], None]
PAUSE = 0.05  # seconds between rows, in which the threads of the one before stop spinning
CLIP_FRAMES = 24


PAPERS_BLOCK = 128  # SegBlocks, TPAMI 2023, section 4: blocks of 128 pixels
PAPERS_PIXELS = 1024 * 512  # of an input from which on such blocks are small enough parts of the picture


def run_bench(
    model: str = DEFAULT_MODEL,
    *,
    device: str = "auto",
    size: tuple[int, int] | None = None,
    block: int | None = None,
    shares: Sequence[float] = (1.0, 0.4, 0.2, 0.0),
    rounds: int = 15,
    pipeline: bool = True,
    progress: Progress | None = None,
) -> BenchReport:
    """Time the network, dense and in blocks, and the pipeline from decoding to overlay.

    A network row is from the normalised image to the logits at stride 4, policy and choice of blocks included. The rows
    take turns and every figure is a median over the rounds, so that a busy machine slows all of them alike.

    Args:
        model: name or path.
        device: "auto", "cpu", "cuda" or "cuda:N".
        size: width and height of the network input, rounded up to whole blocks; None takes the model's.
        block: side of a block in pixels; None takes the paper's 128 for inputs of 1024x512 or more, else the model's.
        shares: shares of high blocks to time, 0..1.
        rounds: times each row is measured.
        pipeline: time the pipeline too.
        progress: called with what is going on, steps done and steps in all.

    Raises:
        UsageError, ModelError, EngineError: if something cannot be used.
    """
    if rounds < 1:
        raise UsageError(f"rounds must be 1 or more, not {rounds}")
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise UsageError(f"shares must be numbers from 0 to 1, not {list(shares)}")
    loaded = load_model(model)
    wide, tall = loaded.spec.size if size is None else size
    side = block
    if side is None:
        side = PAPERS_BLOCK if wide * tall >= PAPERS_PIXELS else loaded.spec.block
    if side not in BLOCK_SIDES:
        raise UsageError(f"the block side must be one of {', '.join(map(str, BLOCK_SIDES))} pixels, not {side}")
    fit((tall, wide), (wide, tall), side, exact=True)  # refuses sizes that cannot be used
    whole = (math.ceil(wide / side) * side, math.ceil(tall / side) * side)
    report = progress or (lambda what, done, total: None)
    if kind_of(device) == "cuda":
        from segstream.engines import cuda_bench

        rows, notes = cuda_bench.rows(loaded, whole, side, shares, rounds, device, report)
        below = cuda_bench.versions()
    else:
        rows, notes = cpu_rows(loaded, whole, side, shares, rounds, device, report)
        below = {}
    if pipeline and importlib.util.find_spec("av") is None:
        notes.append("PyAV is not installed, so the pipeline was not timed; install it with `pip install av`")
    elif pipeline:
        rows.append(pipeline_row(loaded, whole, side, device, report))
    return BenchReport(
        model=loaded.spec.name,
        device=device_name(device),
        size=whole,
        versions=versions(["segstream", "torch", *sorted({r.engine for r in rows if r.engine != "torch"})]) | below,
        rows=tuple(rows),
        notes=tuple(notes),
    )


def kind_of(device: str) -> str:
    """ "cuda" or "cpu": where a device name leads on this machine."""
    if device.startswith("cuda"):
        return "cuda"
    if device == "auto":
        from segstream.engines.choose import cuda_problem

        return "cpu" if cuda_problem() else "cuda"
    return "cpu"


def device_name(device: str) -> str:
    if kind_of(device) == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu ({torch.get_num_threads()} threads)"


def cpu_rows(
    model: Model,
    size: tuple[int, int],
    block: int,
    shares: Sequence[float],
    rounds: int,
    device: str,
    progress: Progress,
) -> tuple[list[BenchRow], list[str]]:
    """Rows of the dense competitors and of SegBlocks on the CPU, with notes."""
    wide, tall = size
    image, _ = render(0, wide, tall)
    x = to_input(image, fit((tall, wide), size, block, exact=True), model.spec.mean, model.spec.std)
    costs = measure(model, block)
    rows, columns = tall // block, wide // block
    progress("handing the network to the competitors", 0, 1)
    with torch.inference_mode(False), torch.no_grad():
        makers, notes = dense_runners(model.network, x)
    engine = make_engine(model, "cpu" if device == "auto" else device)
    policy = model.spec.policy
    entries: list[tuple[str, str, int | None, Callable[[], Runner]]]
    entries = [(f"dense, {name}", name, None, make) for name, make in makers.items()]
    for share in shares:
        n_high = math.ceil(share * rows * columns - 1e-6)
        run = blocks_runner(model, engine, x, block, n_high)
        entries.append((f"SegBlocks, {policy} policy", engine.name, n_high, lambda run=run: run))  # type: ignore[misc]
    runners, memory = [], []
    with torch.inference_mode():
        for i, (name, _, _, make) in enumerate(entries):
            progress(f"loading {name}", i, len(entries))
            runner, megabytes = make_measured(make)
            runners.append(runner)
            memory.append(megabytes)
        times = take_turns(runners, rounds, progress)
    dense = [i for i, entry in enumerate(entries) if entry[2] is None]
    fastest = min(dense, key=lambda i: median(times[i]))
    found = []
    for entry, taken, megabytes in zip(entries, times, memory, strict=True):
        name, kind, blocks, _ = entry
        ratio = median(a / b for a, b in zip(times[fastest], taken, strict=True))
        found.append(network_row(name, kind, blocks, taken, megabytes, ratio, costs, (rows, columns), policy))
    return found, notes


def network_row(
    name: str,
    engine: str,
    n_high: int | None,
    taken: list[float],
    megabytes: float | None,
    ratio: float,
    costs: Costs,
    shape: tuple[int, int],
    policy: str,
) -> BenchRow:
    blocks = shape[0] * shape[1]
    gmacs = costs.dense_gmacs(*shape) if n_high is None else costs.gmacs(*shape, n_high, policy)
    seconds = median(taken)
    share = 1.0 if n_high is None else n_high / blocks
    return BenchRow(name, engine, share, 1e3 * seconds, 1 / seconds, gmacs, megabytes, ratio)


def blocks_runner(model: Model, engine: object, x: Tensor, block: int, n_high: int) -> Runner:
    """The network in blocks, from image to logits, the `n_high` blocks with the highest scores at high resolution."""
    policy, network = model.spec.policy, model.network

    def choose() -> Tensor:
        scores = score(policy, x, block, model.policy_net)
        return select(scores, -1.0, n_high / scores.numel())

    if isinstance(engine, CpuEngine):
        return lambda: engine.network(x, choose()[0].numpy(), block)
    return lambda: network(x, Grid(choose(), block))


def take_turns(runners: list[Runner], rounds: int, progress: Progress) -> list[list[float]]:
    """Seconds of every runner in every round. Each warms up before it is timed, since the one before took the cache."""
    times: list[list[float]] = [[] for _ in runners]
    for turn in range(rounds + 1):
        progress("timing", turn, rounds + 1)
        for runner, taken in zip(runners, times, strict=True):
            time.sleep(PAUSE)
            runner()
            started = time.perf_counter()
            runner()
            if turn:  # the first round warms up
                taken.append(time.perf_counter() - started)
    return times


def make_measured(make: Callable[[], Runner]) -> tuple[Runner, float | None]:
    """Make a runner and run it twice; and the MB of resident memory that added at its peak, where Linux tells."""
    before = resident_mb("VmRSS") if reset_peak() else None
    runner = make()
    runner()
    runner()
    peak = resident_mb("VmHWM")
    return runner, None if before is None or peak is None else max(0.0, peak - before)


def reset_peak() -> bool:
    """Make the kernel forget the peak of resident memory; False where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def resident_mb(field: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{field}:")), None)


def pipeline_row(model: Model, size: tuple[int, int], block: int, device: str, progress: Progress) -> BenchRow:
    """A clip of the drawn street from file to overlay video, by the model's own policy."""
    from segstream.recording import record
    from segstream.segmenter import Segmenter

    progress("the pipeline", 0, 1)
    wide, tall = size
    with tempfile.TemporaryDirectory() as folder, Segmenter(model, device=device, size=size, block=block) as segmenter:
        clip = os.path.join(folder, "clip.mp4")
        write_clip(clip, [render(i, wide, tall)[0] for i in range(CLIP_FRAMES)])
        segmenter(render(0, wide, tall)[0])  # loads what loads late
        summary = record(clip, os.path.join(folder, "out.mp4"), model=segmenter)
    return BenchRow(
        name=f"pipeline, decode to encoded overlay, {segmenter.policy} policy",
        engine=segmenter.engine_name,
        high_share=summary.high_share,
        ms=1e3 * summary.seconds / summary.frames,
        fps=summary.frames / summary.seconds,
        gmacs=summary.gmacs,
    )


def write_clip(path: str, images: list[NDArray[np.uint8]]) -> None:
    """Write images uint8 [H, W, 3] as an H.264 video of 30 frames per second."""
    import av

    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
