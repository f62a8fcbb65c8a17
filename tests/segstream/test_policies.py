"""Policies and the rule that turns scores into grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segstream.errors import UsageError
from segstream.models import PolicyNet
from segstream.policies import POLICIES, bonus_of, check_options, score, select


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(1, 3, 128, 192)
    x[:, :, :64, :64] = torch.randn(3, 64, 64, generator=generator)  # only the first block has detail
    return x


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_frame_gives_the_same_scores_in_range(image: torch.Tensor, policy: str) -> None:
    torch.manual_seed(0)
    net = PolicyNet().eval()
    first = score(policy, image, 64, net)
    torch.rand(7)  # the state of torch's own generator must not matter
    assert torch.equal(first, score(policy, image.clone(), 64, net))
    assert first.shape == (1, 2, 3) and first.dtype == torch.float32
    assert ((first >= 0) & (first <= 1)).all()


def test_the_heuristic_finds_the_block_with_detail(image: torch.Tensor) -> None:
    scores = score("heuristic", image, 64)
    assert scores[0, 0, 0] > 0.3
    assert scores.reshape(-1)[1:].max() < 0.05


def test_the_random_policy_follows_image_and_seed(image: torch.Tensor) -> None:
    other = image.clone()
    other[:, :, 0, 0] += 1
    scores = score("random", image, 64)
    assert not torch.equal(scores, score("random", other, 64))
    assert not torch.equal(scores, score("random", image, 64, seed=1))
    batch = score("random", torch.cat([other, image]), 64)
    assert torch.equal(batch[1:], scores)


def test_high_and_low_are_all_and_nothing(image: torch.Tensor) -> None:
    assert select(score("high", image, 64)).all()
    assert not select(score("low", image, 64)).any()


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    threshold=st.floats(0, 1),
    budget=st.floats(0, 1),
    seed=st.integers(0, 1000),
    levels=st.sampled_from([2, 1000]),
)
def test_selection_keeps_threshold_and_budget(
    rows: int, columns: int, threshold: float, budget: float, seed: int, levels: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels, (2, rows, columns), generator=generator) / levels
    grid = select(scores, threshold, budget)
    assert (scores[grid] > threshold).all()
    for image_scores, chosen in zip(scores, grid, strict=True):
        allowed = int(budget * rows * columns + 1e-6)
        passing = int((image_scores > threshold).sum())
        assert int(chosen.sum()) == min(passing, allowed)
        if chosen.any() and (~chosen & (image_scores > threshold)).any():
            left_out = image_scores[~chosen & (image_scores > threshold)].max()
            assert image_scores[chosen].min() >= left_out
    assert torch.equal(grid, select(scores.clone(), threshold, budget))


def test_ties_are_taken_in_reading_order() -> None:
    assert select(torch.ones(1, 2, 2), 0.5, 0.5)[0].tolist() == [[True, True], [False, False]]


def test_bad_options_are_refused_with_what_would_do() -> None:
    with pytest.raises(UsageError, match="learned, heuristic, random, high, low"):
        check_options("best", None, 1.0)
    with pytest.raises(UsageError, match="budget must be from 0 to 1"):
        check_options("high", None, 1.5)
    with pytest.raises(UsageError, match="threshold must be from 0 to 1"):
        check_options("high", float("nan"), 1.0)
    with pytest.raises(UsageError, match="no policy network"):
        score("learned", torch.zeros(1, 3, 64, 64), 64)


def test_the_heuristic_is_what_its_formula_says() -> None:
    x = torch.randn(2, 3, 128, 192, generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)
    small = torch.nn.functional.avg_pool2d(x, 4)
    again = torch.nn.functional.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False)
    lost = torch.nn.functional.avg_pool2d((x - again).abs().mean(1, keepdim=True), 64).squeeze(1)
    assert torch.allclose(score("heuristic", x, 64), 1 - torch.exp(-lost), atol=1e-5)


def steady_grids(scores: list[list[float]], steady: float, budget: float = 1.0) -> list[list[bool]]:
    """Grids of a video of one row of blocks, threshold 0.5."""
    grids: list[np.ndarray] = []
    for row in scores:
        given = torch.tensor([[row]])
        bonus = None if not grids else bonus_of(grids[-1], "learned", 0.5, steady)
        if bonus is not None:
            given = given + torch.from_numpy(bonus)
        grids.append(select(given, 0.5, budget)[0].numpy())
    return [grid[0].tolist() for grid in grids]


def test_a_high_block_stays_high_until_its_score_has_clearly_fallen() -> None:
    scores = [[0.6], [0.45], [0.55], [0.4], [0.3], [0.45]]
    assert steady_grids(scores, 0.0) == [[True], [False], [True], [False], [False], [False]]
    assert steady_grids(scores, 0.3) == [[True], [True], [True], [True], [False], [False]]


def test_under_a_budget_a_block_gives_way_only_to_one_that_is_clearly_higher() -> None:
    scores = [[0.7, 0.6], [0.7, 0.75], [0.7, 0.9]]
    assert steady_grids(scores, 0.0, 0.5) == [[True, False], [False, True], [False, True]]
    assert steady_grids(scores, 0.3, 0.5) == [[True, False], [True, False], [False, True]]


def test_policies_that_do_not_look_are_left_alone() -> None:
    previous = np.ones((2, 3), dtype=bool)
    assert all(bonus_of(previous, policy, 0.5, 0.3) is None for policy in ("random", "high", "low"))
