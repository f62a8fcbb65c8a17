"""The object people embed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from segstream import Frame, Segmenter
from segstream.errors import UsageError
from segstream.models.registry import untrained_model


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter("untrained-rn18", device="torch:cpu", size=(128, 96))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (90, 121, 3), dtype=np.uint8)


@pytest.mark.parametrize("policy", ["learned", "heuristic", "random", "high", "low"])
def test_every_policy_gives_labels_of_the_frame_size(segmenter: Segmenter, image: np.ndarray, policy: str) -> None:
    segmenter.policy, segmenter.budget = policy, 1.0
    result = segmenter(image)
    again = segmenter(Frame(image, index=7, pts_seconds=1.5))
    assert result.labels.shape == (90, 121) and result.labels.dtype == np.uint8
    assert result.labels.max() < len(result.classes)
    assert np.array_equal(result.labels, again.labels) and np.array_equal(result.blocks, again.blocks)
    assert (again.index, again.pts_seconds) == (7, 1.5)
    assert result.blocks.shape == (2, 2) and result.high_share == result.blocks.mean()
    assert 0 < result.gmacs <= result.dense_gmacs * 1.05
    assert set(result.timings) >= {"policy", "network"}
    assert sum(result.class_shares().values()) == pytest.approx(1)


def test_settings_act_on_the_next_frame(segmenter: Segmenter, image: np.ndarray) -> None:
    segmenter.policy, segmenter.threshold, segmenter.budget = "heuristic", 0.0, 1.0
    assert segmenter(image).high_share == 1
    segmenter.budget = 0.5
    assert segmenter(image).high_share == 0.5
    segmenter.threshold = 1.0
    assert segmenter(image).high_share == 0
    segmenter.threshold, segmenter.budget = None, 2.0
    with pytest.raises(UsageError, match="budget"):
        segmenter(image)
    segmenter.budget = 1.0


def test_all_high_is_the_dense_network_on_the_same_frame(segmenter: Segmenter, image: np.ndarray) -> None:
    from segstream.engines.torch_engine import to_labels
    from segstream.geometry import to_input

    segmenter.policy = "high"
    model = untrained_model()
    geometry = segmenter.geometry(*image.shape[:2])
    with torch.no_grad():
        dense = model.network(to_input(image, geometry, model.spec.mean, model.spec.std))
    assert (segmenter(image).labels == to_labels(dense, geometry)).mean() > 0.999


def test_what_cannot_be_used_is_refused(image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="no policy 'best'"):
        Segmenter("untrained-rn18", policy="best")
    with pytest.raises(UsageError, match="no device 'gpu'"):
        Segmenter("untrained-rn18", device="gpu")
    with pytest.raises(UsageError, match="one of 64, 128, 256"):
        Segmenter("untrained-rn18", block=192)
    for size in ("1024x512", (1024,), (1024, 0), 512):
        with pytest.raises(UsageError, match="size must be width and height"):
            Segmenter("untrained-rn18", size=size)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the Result of the frame before, not a ndarray"):
        Segmenter("untrained-rn18", device="torch:cpu")(image, previous=image)  # type: ignore[arg-type]
    for wrong in ({"threshold": "0.5"}, {"budget": None}, {"steady": 2}):
        with pytest.raises(UsageError, match="must be from 0 to 1"):
            Segmenter("untrained-rn18", **wrong)  # type: ignore[arg-type]
    assert Segmenter("untrained-rn18", size=(np.int64(64), 64)).size == (64, 64)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"uint8 \[H, W, 3\] in RGB order, not float32"):
        Segmenter("untrained-rn18", device="torch:cpu")(Frame(image.astype(np.float32)))
    bare = dataclasses.replace(untrained_model(), policy_net=None)
    with pytest.raises(UsageError, match="no learned policy"):
        Segmenter(bare, policy="learned")


@pytest.mark.parametrize("device", ["cpu", "torch:cpu"])
def test_a_learned_policy_that_the_model_lacks_is_refused_between_frames_too(image: np.ndarray, device: str) -> None:
    bare = dataclasses.replace(untrained_model(), policy_net=None)
    with Segmenter(bare, device=device, policy="heuristic", size=(128, 96)) as segmenter:
        segmenter.policy = "learned"
        with pytest.raises(UsageError, match=f"model {bare.spec.name!r} has no learned policy; use heuristic, random"):
            segmenter(image)
        segmenter.policy = "high"
        assert segmenter(image).high_share == 1


def test_a_frame_sees_one_threshold_although_another_thread_changes_it(image: np.ndarray) -> None:
    class Changing(Segmenter):
        """Gives each reader of its threshold another one, as a thread in between would."""

        reads = 0

        @property
        def threshold(self) -> float:
            self.reads += 1
            return 0.0 if self.reads == 1 else 2.0  # the second would be refused

        @threshold.setter
        def threshold(self, value: float | None) -> None:
            self.reads = 0

    with Changing("untrained-rn18", device="cpu", policy="heuristic", size=(128, 96)) as segmenter:
        assert segmenter(image).high_share == 1
        assert segmenter.reads == 1


def test_the_last_grid_keeps_blocks_high_and_one_of_another_size_does_not_matter(image: np.ndarray) -> None:
    with Segmenter(
        "untrained-rn18", device="cpu", policy="heuristic", size=(256, 128), block=64, steady=1.0, borders=0.0
    ) as segmenter:
        alone = segmenter(image)
        everything = dataclasses.replace(alone, blocks=np.ones_like(alone.blocks))
        assert segmenter(image, everything).blocks.all()  # nothing scores below (1 - 1.0) * threshold
        other = dataclasses.replace(alone, blocks=np.ones((9, 9), dtype=bool))
        assert np.array_equal(segmenter(image, other).blocks, alone.blocks)
        assert np.array_equal(segmenter(image).blocks, alone.blocks)
        for setting in ("steady", "borders"):
            before = getattr(segmenter, setting)
            setattr(segmenter, setting, 2.0)
            with pytest.raises(UsageError, match=setting):
                segmenter(image)
            setattr(segmenter, setting, before)


def one_high_block(device: str, **looking: float) -> Segmenter:
    """A segmenter of which the budget alone decides which block of eight is high."""
    options = {"policy": "heuristic", "size": (256, 128), "block": 64, "threshold": 0.0, "budget": 0.2}
    return Segmenter("untrained-rn18", device=device, **options, **looking)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["cpu", "torch:cpu"])
def test_under_a_budget_alone_a_high_block_stays_high(image: np.ndarray, device: str) -> None:
    with one_high_block(device, steady=1.0, borders=0.0) as segmenter:
        last = segmenter(image)
        for row, column in ((0, 0), (1, 1)):  # noise: all blocks score about the same
            blocks = np.zeros_like(last.blocks)
            blocks[row, column] = True
            assert np.array_equal(segmenter(image, dataclasses.replace(last, blocks=blocks)).blocks, blocks)


@pytest.mark.parametrize("device", ["cpu", "torch:cpu"])
def test_blocks_follow_the_borders_of_the_last_class_map(image: np.ndarray, device: str) -> None:
    with one_high_block(device, steady=0.0, borders=1.0) as segmenter:
        last = segmenter(image)
        for row, column in ((0, 0), (1, 1)):
            labels = np.zeros_like(last.labels)
            height, width = last.block_px
            top, left = int(row * height), int(column * width)
            stripes = np.arange(int(width)) // 8 % 2
            labels[top : top + int(height), left : left + int(width)] = stripes
            followed = segmenter(image, dataclasses.replace(last, labels=labels)).blocks
            assert followed.sum() == 1 and followed[row, column]


@pytest.mark.parametrize("device", ["cpu", "torch:cpu"])
def test_frames_need_no_memory_of_their_own_without_a_gpu(device: str) -> None:
    with Segmenter("untrained-rn18", device=device, size=(128, 96)) as segmenter:
        assert segmenter.frame_memory(96, 128) is None
        with pytest.raises(UsageError, match="cannot be segmented"):
            segmenter.frame_memory(96, 20_000)


@pytest.mark.parametrize("device", ["cpu", "torch:cpu"])
def test_high_is_every_block_whatever_the_threshold(image: np.ndarray, device: str) -> None:
    with Segmenter("untrained-rn18", device=device, size=(128, 128), policy="high", threshold=1.0) as segmenter:
        assert segmenter(image).high_share == 1.0
        segmenter.policy = "low"
        assert segmenter(image).high_share == 0.0
