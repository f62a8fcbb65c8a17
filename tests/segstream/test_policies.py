"""Policies and the rule that turns scores into grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segstream.errors import UsageError
from segstream.models import PolicyNet
from segstream.policies import (
    POLICIES,
    LastFrame,
    bonus_of,
    border_bonus,
    border_share,
    check_options,
    score,
    select,
    steady_bonus,
)


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


@pytest.mark.parametrize(("context", "far"), [(0, False), (2, True)])
@torch.no_grad()
def test_by_context_a_score_follows_from_blocks_farther_away(context: int, far: bool) -> None:
    torch.manual_seed(0)
    net = PolicyNet(16, context).eval()
    x = torch.randn(1, 3, 64, 5 * 64)
    other = x.clone()
    other[..., :64] = torch.randn(1, 3, 64, 64)
    changed = (net(x, 64) != net(other, 64))[0, 0]  # [GW]
    assert changed[:2].all() and changed[3:].all() == far and changed[3:].any() == far
    assert net(x, 64).shape == (1, 1, 5)


@torch.no_grad()
def test_detail_weighs_in_the_learned_policy_by_its_logarithm(image: torch.Tensor) -> None:
    torch.manual_seed(0)
    plain = PolicyNet(16).eval()
    net = PolicyNet(16, detail=0.5).eval()
    net.load_state_dict({**plain.state_dict(), "detail": torch.tensor(0.5)})
    lost = score("heuristic", image, 64)  # [1, GH, GW]
    assert lost[0, 1, 2] < 1e-4  # a block without any counts as one of a ten-thousandth
    expected = plain(image, 64) + 0.5 * lost.clamp(min=1e-4).log()
    torch.testing.assert_close(net(image, 64), expected)
    torch.testing.assert_close(score("learned", image, 64, net), expected.sigmoid())
    assert torch.equal(net.own_logits(image, 64), plain(image, 64))
    assert plain.detail_weight is None and net.detail_weight == 0.5


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


def steady_grids(
    scores: list[list[float]], steady: float, budget: float = 1.0, threshold: float = 0.5
) -> list[list[bool]]:
    """Grids of a video of one row of blocks; the model's own threshold is 0.5."""
    grids: list[np.ndarray] = []
    for row in scores:
        given = torch.tensor([[row]])
        if grids:
            given = given + torch.from_numpy(steady_bonus(grids[-1], threshold, 0.5, steady))
        grids.append(select(given, threshold, budget)[0].numpy())
    return [grid[0].tolist() for grid in grids]


def test_a_high_block_stays_high_until_its_score_has_clearly_fallen() -> None:
    scores = [[0.6], [0.45], [0.55], [0.4], [0.3], [0.45]]
    assert steady_grids(scores, 0.0) == [[True], [False], [True], [False], [False], [False]]
    assert steady_grids(scores, 0.3) == [[True], [True], [True], [True], [False], [False]]


def test_under_a_budget_a_block_gives_way_only_to_one_that_is_clearly_higher() -> None:
    scores = [[0.7, 0.6], [0.7, 0.75], [0.7, 0.9]]
    assert steady_grids(scores, 0.0, 0.5) == [[True, False], [False, True], [False, True]]
    assert steady_grids(scores, 0.3, 0.5) == [[True, False], [True, False], [False, True]]


def test_at_threshold_0_steadiness_is_a_share_of_the_models_own_threshold() -> None:
    scores = [[0.2, 0.1], [0.2, 0.3], [0.2, 0.4]]  # it takes 0.3 * 0.5 more to be clearly higher
    assert steady_grids(scores, 0.0, 0.5, threshold=0.0) == [[True, False], [False, True], [False, True]]
    assert steady_grids(scores, 0.3, 0.5, threshold=0.0) == [[True, False], [True, False], [False, True]]
    high = np.array([[True, False, True]])
    np.testing.assert_allclose(steady_bonus(high, 0.0, 0.5, 0.3), [[0.15, 0, 0.15]])
    np.testing.assert_allclose(steady_bonus(high, 0.2, 0.5, 0.3), [[0.06, 0, 0.06]])


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_at_threshold_0_no_block_scores_lower_for_the_frame_before(
    seed: int, usual: float, steady: float, borders: float
) -> None:
    rng = np.random.default_rng(seed)
    high = rng.random((2, 3)) < 0.5
    labels = rng.integers(0, 2, (64, 96), dtype=np.uint8) * (rng.random() < 0.8)
    bonus = bonus_of("learned", (2, 3), LastFrame(high, labels, (32, 32)), 0.0, usual, steady, borders)
    assert bonus is not None and bonus.min() >= 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 5), st.floats(0.2, 1.0))
@settings(max_examples=30, deadline=None)
def test_borders_are_counted_in_the_block_they_lie_in(seed: int, rows: int, columns: int, filled: float) -> None:
    rng = np.random.default_rng(seed)
    side = 32
    height = max(8, int(side * (rows - 1 + filled)))
    width = max(8, int(side * (columns - 1 + filled)))
    labels = rng.integers(0, 3, (-(-height // 8), -(-width // 8)), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    labels = labels[:height, :width]
    seen = labels[::4, ::4]
    expected = np.zeros((rows, columns))
    for y in range(seen.shape[0]):
        for x in range(seen.shape[1]):
            right = x + 1 < seen.shape[1] and seen[y, x] != seen[y, x + 1]
            below = y + 1 < seen.shape[0] and seen[y, x] != seen[y + 1, x]
            expected[min(4 * y // side, rows - 1), min(4 * x // side, columns - 1)] += (right or below) * 16 / side**2
    np.testing.assert_allclose(border_share(labels, (rows, columns), (side, side)), expected, atol=1e-6)


def test_blocks_with_borders_gain_and_the_mean_stays() -> None:
    share = np.zeros((2, 3), dtype=np.float32)
    assert not border_bonus(share, 0.3).any()
    share[0, 1] = 0.2
    bonus = border_bonus(share, 0.3)
    assert bonus.argmax() == 1 and bonus[0, 1] > 0.3 and abs(bonus.mean()) < 1e-6
    labels = np.zeros((64, 96), dtype=np.uint8)
    labels[:32, 40:56] = 1
    high = np.zeros((2, 3), dtype=bool)
    last = LastFrame(high, labels, (32, 32))
    looked = bonus_of("heuristic", (2, 3), last, 0.5, 0.5, 0.15, 0.3)
    assert looked is not None and looked.argmax() == 1 and looked.min() < 0
    looked = bonus_of("heuristic", (2, 3), last, 0.0, 0.5, 0.15, 0.3)
    assert looked is not None and looked.min() == 0  # a budget must be used up all the same


def test_nothing_is_added_where_there_is_nothing_to_look_back_at() -> None:
    last = LastFrame(np.ones((2, 3), dtype=bool), np.zeros((64, 96), dtype=np.uint8), (32, 32))
    assert bonus_of("learned", (2, 3), last, 0.5, 0.5, 0.15, 0.3) is not None
    assert bonus_of("learned", (2, 3), None, 0.5, 0.5, 0.15, 0.3) is None
    assert bonus_of("learned", (3, 3), last, 0.5, 0.5, 0.15, 0.3) is None
    assert bonus_of("random", (2, 3), last, 0.5, 0.5, 0.15, 0.3) is None
