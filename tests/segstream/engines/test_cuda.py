"""The CUDA engine: which frames it can take, and on a GPU that it gives what the plain network gives."""

from __future__ import annotations

import importlib.util
import queue
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segstream.blocks import Grid
from segstream.engines.base import Choice
from segstream.engines.cuda_graphs import bucket
from segstream.engines.torch_engine import to_labels
from segstream.errors import EngineError, UsageError
from segstream.geometry import Geometry, fit, scale_image, to_input
from segstream.kernels import launcher
from segstream.models import Model, PolicyNet, load_model
from segstream.models.registry import untrained_model
from segstream.policies import score, select
from segstream.scenes import render
from tests.gpu import need_gpu


@given(st.integers(1, 600).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_buckets_hold_the_count_and_keep_to_the_budget(case: tuple[int, int, int]) -> None:
    total, allowed, count = case
    count = min(count, allowed)
    chosen = bucket(count, total, allowed)
    assert count <= chosen <= allowed
    assert chosen - count < max(1, total // 16)
    assert (chosen == 0) == (count == 0)


def test_without_a_gpu_the_engine_says_what_to_do() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    from segstream.engines.cuda import CudaEngine, problem

    assert problem()
    with pytest.raises(UsageError, match="use --device cpu"):
        CudaEngine(load_model("untrained-rn18"))


@pytest.fixture(scope="module")
def engine():
    need_gpu()
    from segstream.engines.cuda import CudaEngine

    engine = CudaEngine(load_model("swiftnet-rn18-camvid"))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def model() -> Model:
    """The same model for the plain reference."""
    return load_model("swiftnet-rn18-camvid")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return render(100 * seed, width, height)[0]


def expected_labels(model: Model, image: np.ndarray, geometry: Geometry, blocks: np.ndarray) -> np.ndarray:
    """What the network gives in float32 on the grid `blocks`, bool [GH, GW]."""
    with torch.inference_mode():
        x = to_input(image, geometry, model.spec.mean, model.spec.std)
        return to_labels(model.network(x, Grid(torch.from_numpy(blocks)[None], geometry.block)), geometry)


@pytest.mark.cuda
@pytest.mark.parametrize("policy", ["high", "low", "random", "heuristic", "learned"])
@pytest.mark.parametrize(
    ("height", "width", "size"), [(128, 192, (192, 128)), (100, 151, (320, 200)), (333, 500, (250, 167))]
)
def test_infer_equals_the_plain_network(
    engine, model: Model, policy: str, height: int, width: int, size: tuple[int, int]
) -> None:
    image, geometry = picture(height, width), fit((height, width), size, 64, exact=True)
    x = to_input(image, geometry, model.spec.mean, model.spec.std)
    with torch.inference_mode():
        scores = score(policy, x, 64, model.policy_net)
    threshold = float(scores.median()) if policy in ("heuristic", "learned") else 0.5
    output = engine.infer(image, geometry, Choice(policy, threshold))
    # Every block that the policy clearly wants is high, and few others are: counts are rounded up.
    wanted = scores[0].numpy() > threshold + 5e-3
    assert output.blocks[wanted].all()
    others = output.blocks & ~(scores[0].numpy() > threshold - 5e-3)
    assert others.sum() <= max(1, output.blocks.size // 16)
    assert (output.labels == expected_labels(model, image, geometry, output.blocks)).mean() >= 0.995
    assert set(output.timings) == {"prepare", "policy", "network", "labels"}
    assert all(ms > 0 for ms in output.timings.values())


@pytest.mark.cuda
@pytest.mark.parametrize("subpixel", [False, True])
@pytest.mark.parametrize("budget", [0.0, 0.3, 1.0])
def test_low_blocks_with_and_without_a_last_layer_of_their_own(budget: float, subpixel: bool) -> None:
    need_gpu()
    from segstream.engines.cuda import CudaEngine

    model, geometry = untrained_model(subpixel=subpixel), fit((256, 384), (384, 256), 64, exact=True)
    engine = CudaEngine(model)
    for seed in range(3):
        image = picture(256, 384, seed)
        output = engine.infer(image, geometry, Choice("random", 0.0, budget, seed=seed))
        assert output.blocks.sum() == int(budget * 24)
        assert (output.labels == expected_labels(model, image, geometry, output.blocks)).mean() >= 0.995
    engine.close()


@pytest.mark.cuda
@pytest.mark.parametrize("shallow", [(4,), (1, 2, 3, 4)])
def test_low_blocks_of_fewer_layers(shallow: tuple[int, ...]) -> None:
    """Whole frames in graphs, of which those of several counts of high blocks share their memory."""
    need_gpu()
    from segstream.engines.cuda import CudaEngine

    model, geometry = untrained_model(shallow=shallow), fit((256, 384), (384, 256), 64, exact=True)
    engine = CudaEngine(model)
    for _ in range(2):
        for seed, budget in enumerate((0.0, 0.25, 0.5, 1.0)):
            image = picture(256, 384, seed)
            output = engine.infer(image, geometry, Choice("random", 0.0, budget, seed=seed))
            assert output.blocks.sum() == int(budget * 24)
            assert (output.labels == expected_labels(model, image, geometry, output.blocks)).mean() >= 0.995
    engine.close()


@pytest.mark.cuda
@pytest.mark.parametrize("block", [64, 128])
def test_a_policy_in_which_detail_weighs_waits_for_the_whole_frame(block: int) -> None:
    """The plain learned policy begins as soon as those rows are there that it looks at."""
    need_gpu()
    from segstream.engines.cuda import CudaEngine

    model = load_model("swiftnet-rn18-camvid")
    assert model.policy_net is not None
    weights = model.policy_net.state_dict()
    model.policy_net = PolicyNet(64, 2, 2.0).eval()
    model.policy_net.load_state_dict({**weights, "detail": torch.tensor(2.0)})
    engine = CudaEngine(model)
    for seed in range(4):
        image = picture(256, 384, seed)
        geometry = fit(image.shape[:2], (384, 256), block, exact=True)
        output = engine.infer(image, geometry, Choice("learned", 0.0, 0.34))
        with torch.inference_mode():
            x = to_input(image, geometry, model.spec.mean, model.spec.std)
            expected = select(score("learned", x, block, model.policy_net), 0.0, 0.34)[0].numpy()
        # Half precision may have two blocks that score nearly alike change places.
        assert output.blocks.sum() == expected.sum() and (output.blocks != expected).sum() <= 2
    engine.close()


@pytest.mark.cuda
@pytest.mark.parametrize("policy", ["high", "learned"])
def test_a_frame_gives_the_same_from_any_memory(engine, policy: str) -> None:
    from segstream.engines.cuda import page_locked

    geometry, choice = fit((256, 384), (384, 256), 64, exact=True), Choice(policy, 0.2, 0.5)
    image = picture(256, 384, 3)
    expected = engine.infer(image, geometry, choice)
    fixed = image.copy()
    fixed.flags.writeable = False
    locked = page_locked(256, 384)
    locked[:] = image
    turned = np.ascontiguousarray(image[::-1])[::-1]  # rows from last to first in memory
    part = np.repeat(image, 2, axis=1)[:, ::2]  # of a wider array
    for other in (fixed, locked, turned, part):
        output = engine.infer(other, geometry, choice)
        assert np.array_equal(output.labels, expected.labels)
        assert np.array_equal(output.blocks, expected.blocks)


@pytest.mark.cuda
@pytest.mark.parametrize("block", [64, 128])
def test_frames_that_change_arrive_whole(engine, block: int) -> None:
    """Each frame's own pixels are on the GPU when the network has run, in a buffer that held another frame before."""
    from segstream.engines.cuda import page_locked

    geometry = fit((720, 1280), (1280, 720), block, exact=True)
    numbers = np.random.default_rng(0)
    ordinary, locked = np.empty((720, 1280, 3), np.uint8), page_locked(720, 1280)
    for policy in ("learned", "high") * 10:
        for image in (ordinary, locked):
            image[:] = numbers.integers(0, 256, image.shape, np.uint8)
            pending = engine.submit(image, geometry, Choice(policy, 0.0, 0.4))
            engine.collect(pending)
            assert np.array_equal(pending.slot.frame.cpu().numpy(), image)


@pytest.mark.cuda
def test_engines_in_several_threads_do_not_mix(engine) -> None:
    from segstream.engines.cuda import CudaEngine

    geometry, choice = fit((256, 384), (384, 256), 64, exact=True), Choice("learned", 0.2, 0.5)
    images = [picture(256, 384, seed) for seed in range(4)]
    expected = [engine.infer(image, geometry, choice) for image in images]
    engines = [CudaEngine(load_model("swiftnet-rn18-camvid")) for _ in range(2)]
    for other in engines:  # graphs are captured while no other engine runs
        for image in images:
            other.infer(image, geometry, choice)
    wrong: list[int] = []

    def run(other: CudaEngine) -> None:
        for turn in range(40):
            output = other.infer(images[turn % 4], geometry, choice)
            if not np.array_equal(output.labels, expected[turn % 4].labels):
                wrong.append(turn)

    threads = [threading.Thread(target=run, args=[other]) for other in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    for other in engines:
        other.close()


@pytest.mark.cuda
def test_copies_between_host_and_gpu(engine) -> None:
    from segstream.engines.cuda import page_locked
    from segstream.kernels import copies

    source, back = page_locked(10, 7), page_locked(10, 7)
    source[:] = np.random.default_rng(0).integers(1, 256, source.shape)
    target = torch.zeros(10, 7, 3, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    copies.upload_rows(target, source, 4, engine.stream)
    copies.download(back, target, engine.stream)
    engine.stream.synchronize()
    assert np.array_equal(back[::4], source[::4])
    assert not np.delete(back, [0, 4, 8], 0).any()
    for memory in (source, source[:8].copy()):  # page-locked and ordinary
        target[:8].view(2, 4, 7, 3)[:, 1:] = 0
        torch.cuda.synchronize()
        copies.upload_rows(target[:8], memory[:8], 4, engine.stream, others=True)
        engine.stream.synchronize()
        assert np.array_equal(target[:8].cpu().numpy(), source[:8])
        assert not target[9:].any()
    copies.upload(target[3:], source[3:], engine.stream)
    engine.stream.synchronize()
    assert np.array_equal(target[3:].cpu().numpy(), source[3:])


@pytest.mark.cuda
def test_another_thread_may_use_the_engine(engine) -> None:
    geometry, choice = fit((256, 384), (384, 256), 64, exact=True), Choice("learned", 0.2, 0.5)
    image = picture(256, 384)
    outputs = [engine.infer(image, geometry, choice)]
    thread = threading.Thread(target=lambda: outputs.append(engine.infer(image, geometry, choice)))
    thread.start()
    thread.join()
    assert len(outputs) == 2
    assert np.array_equal(outputs[0].labels, outputs[1].labels)


@pytest.mark.cuda
def test_memory_for_frames_is_page_locked_and_bounded(engine) -> None:
    from segstream.engines.cuda import FRAME_MEMORY

    geometry = fit((256, 384), (384, 256), 64, exact=True)  # 288 KiB, which count as 512
    held = [engine.frame_memory(geometry) for _ in range(FRAME_MEMORY // 2**19)]
    assert all(array.shape == (256, 384, 3) and torch.from_numpy(array).is_pinned() for array in held)
    assert len({array.ctypes.data for array in held}) == len(held)
    assert engine.frame_memory(geometry) is None
    held.clear()
    assert engine.frame_memory(geometry) is not None
    assert engine.frame_memory(fit((300, 400), (384, 256), 64, exact=True)) is None  # the host scales it


@pytest.mark.cuda
def test_frames_read_by_another_thread_into_the_memory_offered() -> None:
    """As a pipeline does, but without its sources."""
    need_gpu()
    from segstream.segmenter import Segmenter

    images = [picture(256, 384, seed) for seed in range(12)]
    with Segmenter("swiftnet-rn18-camvid", device="cuda", size=(384, 256), block=64, budget=0.5) as segmenter:
        expected = [segmenter(image) for image in images]
        ready: queue.Queue[np.ndarray] = queue.Queue(3)

        def read() -> None:
            for image in images:
                memory = segmenter.frame_memory(256, 384)
                assert memory is not None
                np.copyto(memory, image)
                ready.put(memory)

        thread = threading.Thread(target=read)
        thread.start()
        for result in expected:
            frame = ready.get(timeout=20)
            assert torch.from_numpy(frame).is_pinned()
            again = segmenter(frame)
            assert np.array_equal(again.labels, result.labels) and np.array_equal(again.blocks, result.blocks)
        thread.join()


@pytest.mark.cuda
def test_frames_of_a_pipeline_are_page_locked() -> None:
    need_gpu()
    if importlib.util.find_spec("av") is None:
        pytest.skip("PyAV is not installed")
    from segstream.pipeline import Pipeline
    from segstream.segmenter import Segmenter
    from segstream.sources import SourceOptions, open_source

    with Segmenter("swiftnet-rn18-camvid", device="cuda", size=(384, 256), policy="high") as segmenter:
        segmenter(picture(256, 384))  # while a graph is captured nothing is offered
        results = []

        def slow(result, drawn, lane) -> None:
            results.append(result)
            time.sleep(0.05)  # so that frames have to wait

        Pipeline(open_source("demo:384x256", SourceOptions(max_frames=20)), segmenter, on_result=slow).run()
        assert sum(torch.from_numpy(result.frame.image).is_pinned() for result in results) >= 10
        for result in results:
            assert np.array_equal(segmenter(result.frame.image.copy()).labels, result.labels)


@pytest.mark.cuda
def test_memory_is_taken_while_graphs_are_captured() -> None:
    """Page-locked memory may come new from the system, which no captured stream must notice."""
    need_gpu()
    from segstream.engines.cuda import CudaEngine

    geometry = fit((256, 384), (384, 256), 64, exact=True)
    image, budgets = picture(256, 384), [n / 24 for n in range(25)]
    quiet, busy = (CudaEngine(load_model("swiftnet-rn18-camvid")) for _ in range(2))
    expected = [quiet.infer(image, geometry, Choice("learned", 0.0, budget)) for budget in budgets]
    stop, taken, failed = threading.Event(), [], []

    def take() -> None:
        held: list[np.ndarray | None] = []
        while not stop.is_set():
            try:
                held.append(busy.frame_memory(geometry))
            except Exception as error:
                failed.append(error)
                return
            taken.append(held[-1] is not None)
            if len(held) == 100:
                held.clear()

    thread = threading.Thread(target=take)
    thread.start()
    try:
        for budget, other in zip(budgets, expected, strict=True):
            output = busy.infer(image, geometry, Choice("learned", 0.0, budget))
            assert np.array_equal(output.labels, other.labels)
            assert np.array_equal(output.blocks, other.blocks)
    finally:
        stop.set()
        thread.join()
    assert not failed and any(taken)
    quiet.close()
    busy.close()


@pytest.mark.cuda
def test_scaled_frames_under_way_do_not_mix(engine) -> None:
    geometry = fit((300, 400), (384, 256), 64, exact=True)
    assert geometry.content != geometry.frame
    images, choice = [picture(300, 400, seed) for seed in range(6)], Choice("learned", 0.0, 0.5)
    one_by_one = [engine.infer(image, geometry, choice) for image in images]
    pending = engine.submit(images[0], geometry, choice)
    for i, image in enumerate(images):
        following = engine.submit(images[i + 1], geometry, choice) if i + 1 < len(images) else None
        output = engine.collect(pending)
        assert torch.from_numpy(pending.source).is_pinned()
        assert np.array_equal(pending.slot.frame.cpu().numpy(), scale_image(image, geometry))
        assert np.array_equal(output.labels, one_by_one[i].labels)
        assert np.array_equal(output.blocks, one_by_one[i].blocks)
        pending = following


@pytest.mark.cuda
def test_outputs_keep_what_they_hold(engine) -> None:
    geometry, choice = fit((256, 384), (384, 256), 64, exact=True), Choice("high", 0.5)
    first = engine.infer(picture(256, 384), geometry, choice)
    kept = first.labels.copy()
    for seed in range(1, 4):
        engine.infer(picture(256, 384, seed), geometry, choice)
    assert np.array_equal(first.labels, kept)


@pytest.mark.cuda
@pytest.mark.parametrize("policy", ["random", "learned"])
@pytest.mark.parametrize("budget", [0.0, 0.1, 0.33, 1.0])
def test_the_budget_holds(engine, policy: str, budget: float) -> None:
    geometry = fit((256, 384), (384, 256), 64, exact=True)
    output = engine.infer(picture(256, 384), geometry, Choice(policy, 0.0, budget))
    assert output.blocks.sum() == int(budget * 24)


@pytest.mark.cuda
@pytest.mark.parametrize("policy", ["random", "heuristic", "learned"])
def test_a_bonus_moves_the_choice_of_its_own_frame(engine, policy: str) -> None:
    """As the last frame's class map gives it: added to the scores, below 0 for some; the frame beside has none."""
    geometry = fit((256, 384), (384, 256), 64, exact=True)
    images = [picture(256, 384, seed) for seed in range(4)]
    numbers = np.random.default_rng(0)
    for image in images:
        wanted = numbers.permutation(24).reshape(4, 6) < 6
        bonus = np.where(wanted, 2.0, -0.5).astype(np.float32)
        alone = engine.infer(image, geometry, Choice(policy, 1e-6, 0.25))
        moved = engine.submit(image, geometry, Choice(policy, 1e-6, 0.25, bonus=bonus))
        beside = engine.submit(image, geometry, Choice(policy, 1e-6, 0.25))
        output = engine.collect(moved)
        assert np.array_equal(output.blocks, wanted)
        assert np.array_equal(engine.collect(beside).blocks, alone.blocks)
        again = engine.infer(image, geometry, Choice("random", 1e-6, 0.25, bonus=bonus))
        assert np.array_equal(output.labels, again.labels)
    below = engine.infer(images[0], geometry, Choice(policy, 0.5, bonus=np.full((4, 6), -1.0, np.float32)))
    assert not below.blocks.any()


@pytest.mark.cuda
def test_a_count_that_the_host_knows_is_the_count_that_the_gpu_gives(engine) -> None:
    geometry = fit((256, 384), (384, 256), 64, exact=True)
    for seed in range(4):
        image = picture(256, 384, seed)
        known = engine.infer(image, geometry, Choice("learned", 0.0, 0.5))
        asked = engine.infer(image, geometry, Choice("learned", 1e-9, 0.5))
        assert np.array_equal(known.blocks, asked.blocks)
        assert np.array_equal(known.labels, asked.labels)


@pytest.mark.cuda
def test_two_frames_under_way_do_not_mix(engine) -> None:
    geometry = fit((256, 384), (384, 256), 64, exact=True)
    images = [picture(256, 384, seed) for seed in range(6)]
    choice = Choice("random", 0.5)
    one_by_one = [engine.infer(image, geometry, choice) for image in images]
    pending = engine.submit(images[0], geometry, choice)
    for i in range(1, len(images) + 1):
        following = engine.submit(images[i], geometry, choice) if i < len(images) else None
        output = engine.collect(pending)
        assert np.array_equal(output.labels, one_by_one[i - 1].labels)
        assert np.array_equal(output.blocks, one_by_one[i - 1].blocks)
        pending = following


@pytest.mark.cuda
def test_frame_sizes_may_change(engine) -> None:
    first = None
    for height, width in [(128, 192), (192, 128), (128, 192), (256, 384), (64, 64), (128, 192)]:
        geometry = fit((height, width), (width, height), 64, exact=True)
        output = engine.infer(picture(height, width), geometry, Choice("high", 0.5))
        assert output.labels.shape == (height, width)
        first = output.labels if first is None else first
    assert np.array_equal(first, output.labels)


@pytest.mark.cuda
def test_too_large_a_frame_is_one_sentence_and_the_engine_goes_on(engine) -> None:
    torch.cuda.empty_cache()
    held = torch.empty(torch.cuda.mem_get_info()[0] - 2**29, dtype=torch.uint8, device="cuda")  # half a GiB is left
    geometry = fit((4096, 8192), (8192, 4096), 64, exact=True)
    with pytest.raises(EngineError, match="too little free memory"):
        engine.infer(np.zeros((4096, 8192, 3), np.uint8), geometry, Choice("high", 0.5))
    del held
    torch.cuda.empty_cache()
    engine.graphs.clear()
    small = fit((128, 192), (192, 128), 64, exact=True)
    assert engine.infer(picture(128, 192), small, Choice("high", 0.5)).labels.shape == (128, 192)


@pytest.mark.cuda
def test_a_damaged_cache_repairs_itself(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_gpu()
    import hashlib

    from segstream.kernels import compiler, ops

    monkeypatch.setenv("SEGSTREAM_CACHE", str(tmp_path))
    for damage in (b"", b"garbage", hashlib.sha256(b"not a cubin").digest() + b"not a cubin"):
        launcher._function.cache_clear()
        compiler._failures.clear()
        for path in tmp_path.glob("*.cubin"):
            path.write_bytes(damage)
        high = torch.ones(1, 1, 1, dtype=torch.bool, device="cuda")
        place = torch.zeros(1, dtype=torch.int64, device="cuda")
        blocks, tiles = ops.grid_tables(high, place, 1)
        assert blocks.tolist() == [[[1]]]
        assert tiles.tolist() == [1, 3, 5, 7]
    launcher._function.cache_clear()
