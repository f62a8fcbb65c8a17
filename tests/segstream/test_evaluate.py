"""Evaluation: figures against counting by hand, and a whole evaluation of a small data set."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segstream.datasets import IGNORE, Dataset
from segstream.datasets.camvid import CLASSES
from segstream.errors import UsageError
from segstream.evaluate import class_iou, confusion, evaluate, mean_iou
from segstream.segmenter import Segmenter


def test_figures_match_counting_by_hand() -> None:
    labels = torch.tensor([[0, 0, 1, IGNORE]])
    predicted = torch.tensor([[0, 1, 1, 2]])
    matrix = confusion(predicted, labels, 4)
    assert matrix.tolist()[0][:2] == [1, 1] and int(matrix.sum()) == 3
    iou = class_iou(matrix)
    assert iou[0] == 0.5 and iou[1] == 0.5 and bool(iou[2].isnan())
    assert mean_iou(matrix) == 0.5


def small(classes: tuple[str, ...] = CLASSES, count: int = 2) -> Dataset:
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(0, 256, (64, 128, 3), dtype=np.uint8), rng.integers(0, len(classes), (64, 128), dtype=np.uint8))
        for _ in range(count)
    ]
    return Dataset("small", "val", classes, tuple(f"image {i}" for i in range(count)), lambda i: pairs[i])


def test_reports_cost_share_and_progress() -> None:
    seen: list[tuple[int, int]] = []
    options = {"size": (128, 64), "device": "cpu"}
    dense = evaluate("untrained-rn18", small(), policy="dense", progress=lambda *d: seen.append(d), **options)
    high = evaluate("untrained-rn18", small(), policy="high", **options)
    low = evaluate("untrained-rn18", small(), policy="low", **options)
    half = evaluate("untrained-rn18", small(), policy="random", threshold=0.0, budget=0.5, **options)
    assert seen == [(1, 2), (2, 2)]
    assert dense.miou == pytest.approx(high.miou, abs=1e-4) and dense.gmacs == high.gmacs == high.dense_gmacs
    assert low.high_share == 0 and low.gmacs < 0.27 * low.dense_gmacs
    assert half.high_share == 0.5
    assert (half.threshold, half.budget, half.video, half.block) == (0.0, 0.5, False, 64)
    assert set(dense.to_json()) >= {"model", "dataset", "split", "images", "policy", "miou", "iou", "pixel_accuracy"}


def test_a_video_is_what_a_segmenter_makes_of_its_frames() -> None:
    data, options = small(), {"size": (256, 128), "block": 64, "device": "cpu"}
    found = evaluate("untrained-rn18", data, policy="heuristic", threshold=0.0, budget=0.25, video=True, **options)
    by_itself = evaluate("untrained-rn18", data, policy="heuristic", threshold=0.0, budget=0.25, **options)
    matrix, last = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64), None
    segmenter = Segmenter(
        "untrained-rn18", policy="heuristic", threshold=0.0, budget=0.25, **{**options, "device": "torch:cpu"}
    )
    for i in range(len(data)):
        last = segmenter(data[i].image, last)
        matrix += confusion(torch.from_numpy(last.labels), torch.from_numpy(data[i].labels), len(CLASSES))
    assert found.miou == pytest.approx(mean_iou(matrix), abs=1e-4) and found.high_share == 0.25
    assert found.video and not by_itself.video
    assert by_itself.miou != found.miou


def test_a_limit_spreads_images_but_takes_the_first_of_a_video() -> None:
    read: list[int] = []
    data = small(count=6)
    watched = Dataset(data.name, data.split, data.classes, data.names, lambda i: read.append(i) or data.read(i))
    options = {"size": (128, 64), "device": "cpu", "policy": "heuristic", "limit": 3}
    assert evaluate("untrained-rn18", watched, **options).images == 3
    assert evaluate("untrained-rn18", watched, video=True, **options).images == 3
    assert read == [0, 2, 4, 0, 1, 2]


@pytest.mark.parametrize("policy", ["random", "high", "low", "dense"])
def test_refuses_to_look_back_with_a_policy_that_does_not_look(policy: str) -> None:
    with pytest.raises(UsageError, match=f"{policy}.*does not look at the picture.*--policy learned or heuristic"):
        evaluate("untrained-rn18", small(), size=(128, 64), device="cpu", policy=policy, video=True)


@pytest.mark.parametrize("given", [{"threshold": 0.5}, {"budget": 0.2}])
def test_the_dense_network_has_no_blocks_to_choose(given: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="leave out threshold and budget"):
        evaluate("untrained-rn18", "demo", policy="dense", limit=1, device="cpu", **given)  # type: ignore[arg-type]


def test_refuses_other_classes() -> None:
    with pytest.raises(UsageError, match="classes"):
        evaluate("untrained-rn18", small(("a", "b")), device="cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:99", "torch:cpu"])
def test_refuses_devices_that_do_not_exist(device: str) -> None:
    with pytest.raises(UsageError, match=f"device '{device}'"):
        evaluate("untrained-rn18", small(), device=device)
