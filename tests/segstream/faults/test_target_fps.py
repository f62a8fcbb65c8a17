"""`--target-fps` with the real network on a real live source: followed without growing latency, at a steady budget."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import av
import numpy as np
import pytest

import segstream
from segstream import scenes
from segstream.pipeline import Pipeline
from segstream.sources import SourceOptions, open_source
from tests.segstream.bench_record import processor_seconds


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of the drawn street at 25 frames a second, in H.264."""
    path = tmp_path_factory.mktemp("street") / "street.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "12", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 640, 368, "yuv420p"
        for index in range(100):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scenes.render(index, 640, 368)[0])))
        container.mux(stream.encode(None))
    return path


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_live_source_is_followed(street: Path, child, figure) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Every block would be high if the budget let it, so that the budget alone decides what a frame costs.
    segmenter = segstream.Segmenter(device="cpu", policy="heuristic", threshold=0.0, size=(640, 384), block=64)
    image = scenes.render(0, 640, 368)[0]
    costs = []
    for budget in (1.0, 0.0):
        segmenter.budget = budget
        times = []
        for _ in range(12):
            begin = time.perf_counter()
            segmenter(image)
            times.append(time.perf_counter() - begin)
        costs.append(float(np.median(times[2:])))
    target = 1 / (costs[1] + 0.45 * (costs[0] - costs[1]))  # about 40 % of the blocks can be high
    segmenter.budget = 1.0
    child("pacer.py", street, port)
    busy: list[tuple[float, float]] = []  # processor seconds of everybody and of this process
    seen: list[tuple[float, float, float, float]] = []  # when, latency, budget, share of high blocks

    def keep(result, picture, lane) -> None:
        now = time.monotonic()
        seen.append((now, now - result.frame.captured_at, segmenter.budget, result.high_share))
        busy.append(processor_seconds())
        if now - seen[0][0] > 30:
            pipeline.stop()

    source = open_source(f"udp://127.0.0.1:{port}", SourceOptions(read_timeout=4))
    pipeline = Pipeline(source, segmenter, on_result=keep, target_fps=target)
    pipeline.run()
    assert source.info.is_live and pipeline.stats().target_fps == target
    when, latency, budgets, shares = np.array(seen).T
    late = when > when[0] + 15
    rate = (late.sum() - 1) / float(np.ptp(when[late]))
    everybody, own = np.ptp(np.array(busy)[late], axis=0)
    others = max(0.0, everybody - own) / float(np.ptp(when[late])) / (os.cpu_count() or 1)
    # Who else uses the machine comes and goes: following them costs some of the rate.
    assert rate > 0.85 * min(target, 25) * (1 - others), f"others used {others:.0%} of the processors"
    early, end = np.percentile(latency[~late][10:], 95), np.percentile(latency[late], 95)
    assert end < 3 / target + 0.1 and end < early + 0.1
    assert np.median(budgets[late]) < 0.95 and np.all(shares <= 1.0)
    steps = np.diff(budgets[late])
    steps = steps[steps != 0]
    moves, moved = len(steps), float(np.ptp(budgets[late]))
    turns = int(np.count_nonzero(np.diff(np.sign(steps))))
    if others < 0.05:  # a load that changes is followed, so only a constant one can be asked to give rest
        # No turn and at most one move were seen in six runs; the room is for a machine whose own speed swings.
        # Beside decoding the network is slower than alone: none may be high, unless there is time to spare.
        assert np.median(budgets[late]) > 0.05 or rate < 1.35 * target
        assert moves <= 4 and moved < 0.21 and turns <= 2
    figure(
        "--target-fps on a live source",
        f"{target:.1f} wanted, {rate:.1f} held (alone: {1 / costs[0]:.1f} all high, {1 / costs[1]:.1f} none), budget "
        f"{budgets[late].min():.2f} to {budgets[late].max():.2f} in {moves} moves with {turns} turns after 15 s "
        f"(others used {others:.0%} of the processors), "
        f"95 % latency {early * 1e3:.0f} ms early, {end * 1e3:.0f} ms late",
    )
