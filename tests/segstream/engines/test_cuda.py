"""The CUDA engine: which frames it can take, and on a GPU that it gives what the plain engine gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segstream.engines.base import Choice
from segstream.engines.cuda_graphs import bucket
from segstream.errors import EngineError
from segstream.geometry import fit
from segstream.kernels import launcher
from segstream.models import load_model


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
    with pytest.raises(EngineError, match="use --device cpu"):
        CudaEngine(load_model("untrained-rn18"))


@pytest.fixture(scope="module")
def engines():
    reason = launcher.problem()
    if reason:
        pytest.skip(reason)
    from segstream.engines.cuda import CudaEngine
    from segstream.engines.torch_engine import TorchEngine

    model = load_model("untrained-rn18")
    cuda = CudaEngine(model)
    yield cuda, TorchEngine(model, "cpu")
    cuda.close()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([120 + 100 * np.sin(x / 37 + k) * np.cos(y / 23 - k) for k in range(3)], -1)
    noise = generator.normal(0, 40, (height, width, 3)) * (x > width // 2)[..., None]
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


@pytest.mark.cuda
@pytest.mark.parametrize("policy", ["high", "low", "random", "heuristic"])
@pytest.mark.parametrize(
    ("height", "width", "size"), [(128, 192, (192, 128)), (100, 151, (320, 200)), (333, 500, (250, 167))]
)
def test_infer_equals_the_plain_engine(engines, policy: str, height: int, width: int, size: tuple[int, int]) -> None:
    cuda, plain = engines
    image = picture(height, width)
    geometry = fit((height, width), size, 64, exact=True)
    choice = Choice(policy, 0.5 if policy != "heuristic" else 0.12)
    got, expected = cuda.infer(image, geometry, choice), plain.infer(image, geometry, choice)
    # The engine may run a few more blocks high than the policy wants; give the plain engine the same.
    assert (got.blocks | expected.blocks == got.blocks).all()
    if not np.array_equal(got.blocks, expected.blocks):
        assert got.blocks.sum() - expected.blocks.sum() <= max(1, got.blocks.size // 16)
        return
    assert (got.labels == expected.labels).mean() > 0.97  # random weights: many near ties


@pytest.mark.cuda
@pytest.mark.parametrize("budget", [0.0, 0.1, 0.33, 1.0])
def test_the_budget_holds(engines, budget: float) -> None:
    cuda, _ = engines
    geometry = fit((256, 384), (384, 256), 64, exact=True)
    output = cuda.infer(picture(256, 384), geometry, Choice("random", 0.0, budget))
    assert output.blocks.sum() == int(budget * 24)


@pytest.mark.cuda
def test_two_frames_under_way_do_not_mix(engines) -> None:
    cuda, _ = engines
    geometry = fit((256, 384), (384, 256), 64, exact=True)
    images = [picture(256, 384, seed) for seed in range(6)]
    choice = Choice("random", 0.5)
    one_by_one = [cuda.infer(image, geometry, choice) for image in images]
    pending = cuda.submit(images[0], geometry, choice)
    for i in range(1, len(images) + 1):
        following = cuda.submit(images[i], geometry, choice) if i < len(images) else None
        output = cuda.collect(pending)
        assert np.array_equal(output.labels, one_by_one[i - 1].labels)
        assert np.array_equal(output.blocks, one_by_one[i - 1].blocks)
        pending = following


@pytest.mark.cuda
def test_frame_sizes_may_change(engines) -> None:
    cuda, _ = engines
    first = None
    for height, width in [(128, 192), (192, 128), (64, 64), (256, 128), (128, 192)]:
        geometry = fit((height, width), (width, height), 64, exact=True)
        output = cuda.infer(picture(height, width), geometry, Choice("high", 0.5))
        assert output.labels.shape == (height, width)
        first = output.labels if first is None else first
    assert np.array_equal(first, output.labels)


@pytest.mark.cuda
def test_too_large_a_frame_is_one_sentence_and_the_engine_goes_on(engines) -> None:
    cuda, _ = engines
    torch.cuda.empty_cache()
    held = torch.empty(torch.cuda.mem_get_info()[0] - 2**29, dtype=torch.uint8, device="cuda")  # half a GiB is left
    geometry = fit((4096, 8192), (8192, 4096), 64, exact=True)
    with pytest.raises(EngineError, match="too little free memory"):
        cuda.infer(picture(4096, 8192), geometry, Choice("high", 0.5))
    del held
    torch.cuda.empty_cache()
    cuda.graphs.clear()
    small = fit((128, 192), (192, 128), 64, exact=True)
    assert cuda.infer(picture(128, 192), small, Choice("high", 0.5)).labels.shape == (128, 192)


@pytest.mark.cuda
def test_a_damaged_cache_repairs_itself(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = launcher.problem()
    if reason:
        pytest.skip(reason)
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
