"""The policy's training: the share is exact, and blocks that gain are learned."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from segstream.blocks import Grid
from segstream.models import PolicyNet, SwiftNet
from segstream.training.config import TrainConfig
from segstream.training.losses import (
    block_mean,
    border_density,
    class_weights,
    distillation_loss,
    lovasz_loss,
    pixel_loss,
)
from segstream.training.objective import Objective, judged, needs_judge
from segstream.training.reinforce import (
    SHARPNESS,
    calibrate,
    policy_loss,
    regression_loss,
    sample_blocks,
    top_blocks,
)
from segstream.training.validate import Split, oracle_scores


def test_samples_are_exactly_as_many_as_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 5, generator=generator)
    for count in (0, 1, 17, 60):
        high, _ = sample_blocks(logits, count, generator)
        assert int(high.sum()) == count


def test_whole_images_run_high_and_the_others_keep_their_number() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(4, 2, 3)
    logits[range(4), [0, 0, 1, 1], [0, 1, 2, 0]] = 30  # what a sensible choice takes first, another block in each image
    drawn, grids = set(), set()
    for _ in range(40):
        high, _ = sample_blocks(logits, 6 + 4, generator, whole=1)
        assert int(high.sum()) == 6 + 4
        (whole,) = (i for i in range(4) if high[i].all())
        drawn.add(whole)
        assert high[logits > 0].all()
        grids.add(tuple(high.flatten().tolist()))
    assert drawn == {0, 1, 2, 3}
    assert len(grids) > 10  # the fourth block of the others is left to chance


def test_shuffled_images_keep_their_number_of_high_blocks_at_any_places() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.full((4, 2, 3), -30.0)
    logits[:, 0, 0] = 30  # what a sensible choice takes
    drawn, places = set(), set()
    for _ in range(200):
        high, threshold = sample_blocks(logits, 6 + 3, generator, whole=1, shuffled=1)
        assert high.sum((1, 2)).sort().values.tolist() == [1, 1, 1, 6]
        strays = [i for i in range(4) if not high[i, 0, 0]]
        assert len(strays) <= 1
        drawn.update(strays)
        places.update(tuple(high[i].nonzero()[0].tolist()) for i in strays)
        assert -30 < threshold < 30
    assert drawn == {0, 1, 2, 3} and len(places) == 5


def test_likely_blocks_are_drawn_more_often() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(1, 2, 4)
    logits[0, 0, 1] = 3
    drawn = torch.stack([sample_blocks(logits, 2, generator)[0] for _ in range(300)]).float().mean(0)
    assert drawn[0, 0, 1] > 0.7 and drawn[0, 1].max() < 0.35


def test_learns_which_blocks_gain() -> None:
    """Only some blocks lose by running low; the policy sees nothing but what its own choices cost."""
    generator = torch.Generator().manual_seed(0)
    gain = torch.zeros(1, 4, 8)
    gain[0, 1, ::2] = 1.0
    logits = torch.zeros(1, 4, 8, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(300):
        high, threshold = sample_blocks(logits, 4, generator)
        reward = torch.where(high, 0.0, gain) + 0.1 * torch.randn(gain.shape, generator=generator)
        optimizer.zero_grad()
        policy_loss(logits, high, threshold, reward).backward()
        optimizer.step()
    chosen = logits.detach() > calibrate(logits.detach(), 4 / 32)
    assert torch.equal(chosen, gain > 0)


def test_regression_draws_logits_to_the_reward_in_standard_deviations() -> None:
    reward = torch.randn(20, 4, 8, generator=torch.Generator().manual_seed(0)) + 7
    reward[0, 0, 0], reward[0, 0, 1] = 40.0, -20.0  # one block must not decide all
    logits = torch.zeros(20, 4, 8, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(400):
        optimizer.zero_grad()
        loss = regression_loss(logits, reward)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 1e-4
    expected = (reward - reward.mean()) / reward.std(correction=0)
    assert expected[0, 0, 0] > 10 and expected[0, 0, 1] < -10 and expected.flatten()[2:].std() > 0.3
    torch.testing.assert_close(logits.detach() / SHARPNESS, expected.clamp(-3, 5), atol=0.02, rtol=0)


def test_calibration_gives_the_share() -> None:
    logits = torch.randn(10, 6, 8, generator=torch.Generator().manual_seed(0))
    for share in (0.0, 0.19, 0.5, 1.0):
        above = (logits > calibrate(logits, share)).float().mean()
        assert abs(float(above) - share) < 0.002


def test_the_common_part_of_the_logits_gets_no_gradient() -> None:
    """The threshold follows the logits; were they drawn towards it, they would chase each other without end."""
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(2, 4, 8, generator=generator) + 50).requires_grad_()
    high, threshold = sample_blocks(logits, 12, generator)
    reward = torch.rand(logits.shape, generator=generator)
    loss = policy_loss(logits, high, threshold, reward)
    loss.backward()
    assert logits.grad is not None and float(logits.grad.abs().sum()) > 0
    assert abs(float(logits.grad.sum())) < 1e-5
    torch.testing.assert_close(policy_loss(logits - 50, high, threshold - 50, reward), loss, atol=1e-4, rtol=1e-4)


def test_threshold_parts_the_chosen_from_the_rest() -> None:
    logits = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    high, threshold = top_blocks(logits, 12)
    assert torch.equal(high, logits > threshold)


SHARES = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)  # of the classes


def objective(**settings: Any) -> tuple[Objective, torch.Tensor, torch.Tensor]:
    """An objective with a tiny batch of four images of two blocks each."""
    torch.manual_seed(0)
    config = TrainConfig(mode="reinforce", encoder="efficientnet-lite1", crop=(128, 64), batch=4, **settings)
    network = SwiftNet(config.encoder, 3, subpixel=config.subpixel)
    made = Objective(config, network, PolicyNet(detail=config.detail or None), SHARES)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 3, 64, 128, generator=generator)
    return made, x, torch.randint(0, 3, (4, 64, 128), generator=generator)


def own_scores(made: Objective) -> list[torch.Tensor]:
    """What the policy network's layers will say, [4, 1, 2] a step, each with the gradient that it then gets."""
    found: list[torch.Tensor] = []

    def keep(_: object, __: object, out: torch.Tensor) -> torch.Tensor:  # out [4, 1, 1, 2]
        found.append(out.squeeze(1))
        found[-1].retain_grad()
        return found[-1].unsqueeze(1)

    assert made.policy_net is not None
    made.policy_net.layers.register_forward_hook(keep)
    return found


def test_only_judged_images_teach_the_policy() -> None:
    made, x, labels = objective(judged=0.25, distill=0.0)
    assert judged(made.config, 4) == slice(3, None, 4)  # the last one, where drawn scenes lie
    seen = own_scores(made)
    judge = torch.zeros(1, 3, 16, 32)
    made(x, labels, 3, torch.Generator().manual_seed(0), judge)[0].backward()
    grad = seen[0].grad
    assert grad is not None and grad[3].abs().min() > 0 and grad[:3].abs().max() == 0


def test_the_judge_judges_gains_and_teachers_are_distilled_from() -> None:
    """Their logits differ, so that each taken for the other would show in the distillation or the policy's gradient."""
    made, x, labels = objective(distill=2.0)
    generator = torch.Generator().manual_seed(2)
    judge, teacher = (3 * torch.randn(4, 3, 16, 32, generator=generator) for _ in range(2))
    scores = own_scores(made)
    logits: list[torch.Tensor] = []  # the network's [4, 3, 16, 32]
    made.network.register_forward_hook(lambda _, __, out: logits.append(out))
    loss, task, distill, policy = made(x, labels, 3, torch.Generator().manual_seed(0), judge, teacher)
    loss.backward()
    torch.testing.assert_close(loss, task + distill + policy)
    every = torch.ones(4, 16, 32, dtype=torch.bool)  # pixels that have a label
    torch.testing.assert_close(distill, 2.0 * distillation_loss(logits[0].detach(), teacher, every))

    low, high = (pixel_loss(found.detach(), labels, made.weights)[0] for found in (logits[0], judge))
    expected = scores[0].detach().requires_grad_()
    grid, threshold = sample_blocks(expected, 3, torch.Generator().manual_seed(0))
    policy_loss(expected, grid, threshold, block_mean(low, 64) - block_mean(high, 64)).backward()
    torch.testing.assert_close(scores[0].grad, expected.grad)


@pytest.mark.parametrize("how", ["reinforce", "regression"])
def test_borders_teach_the_policy_whatever_the_network_says(how: str) -> None:
    made, x, labels = objective(reward="borders", policy_loss=how, distill=0.0, judged=0.25)
    scores = own_scores(made)
    made(x, labels, 3, torch.Generator().manual_seed(0))[0].backward()
    expected = scores[0].detach().requires_grad_()
    grid, threshold = sample_blocks(expected, 3, torch.Generator().manual_seed(0))
    rarer_weigh_more = class_weights(SHARES, 1.0)
    reward = border_density(labels, rarer_weigh_more, 64)
    if how == "regression":
        regression_loss(expected, reward).backward()
    else:
        policy_loss(expected, grid, threshold, reward).backward()
    torch.testing.assert_close(scores[0].grad, expected.grad)


def test_detail_weighs_in_what_is_chosen_and_not_in_what_is_learned() -> None:
    made, x, labels = objective(reward="borders", policy_loss="regression", distill=0.0, detail=50.0)
    x[:, :, :, 64:] *= 1e-3  # every second block has hardly any
    grids: list[Grid] = []
    logits = own_scores(made)
    made.network.register_forward_pre_hook(lambda _, args: grids.append(args[1]))
    made(x, labels, 4, torch.Generator().manual_seed(0))[0].backward()
    assert grids[0].high[:, 0, 0].all() and not grids[0].high[:, 0, 1].any()
    expected = logits[0].detach().requires_grad_()
    regression_loss(expected, border_density(labels, class_weights(SHARES, 1.0), 64)).backward()
    torch.testing.assert_close(logits[0].grad, expected.grad, rtol=1e-3, atol=1e-5)


def test_whole_images_teach_the_policy_as_the_others_do() -> None:
    made, x, labels = objective(reward="borders", policy_loss="regression", distill=0.0, whole=0.5)
    scores = own_scores(made)
    grids: list[Grid] = []
    made.network.register_forward_pre_hook(lambda _, args: grids.append(args[1]))
    made(x, labels, 5, torch.Generator().manual_seed(0))[0].backward()
    for seed in range(1, 9):
        made(x, labels, 5, torch.Generator().manual_seed(seed))
    assert all(sorted(grid.high.sum((1, 2)).tolist()) == [0, 1, 2, 2] for grid in grids)
    expected = scores[0].detach().requires_grad_()
    regression_loss(expected, border_density(labels, class_weights(SHARES, 1.0), 64)).backward()
    torch.testing.assert_close(scores[0].grad, expected.grad)


def test_a_step_without_low_blocks_gives_their_last_layer_a_gradient() -> None:
    made, x, labels = objective(distill=0.0, subpixel=True)
    made(x, labels, 8, torch.Generator().manual_seed(0))[0].backward()
    assert all(p.grad is not None for p in made.parameters())
    assert made.network.subpixel is not None and not made.network.subpixel.weight.grad.any()  # type: ignore[union-attr]


def test_a_step_without_high_blocks_gives_the_layers_for_them_a_gradient() -> None:
    torch.manual_seed(0)
    config = TrainConfig(mode="reinforce", shallow=(2, 4), crop=(128, 64), batch=4, distill=0.0)
    made = Objective(config, SwiftNet("resnet18", 3, shallow=config.shallow), PolicyNet(), SHARES)
    x, labels = torch.randn(4, 3, 64, 128), torch.randint(0, 3, (4, 64, 128))
    made(x, labels, 0, torch.Generator().manual_seed(0))[0].backward()
    assert all(p.grad is not None for p in made.network.parameters())
    layers = made.network.encoder.layer2  # type: ignore[union-attr]
    assert layers[0].conv1.weight.grad.any() and not layers[1].conv1.weight.grad.any()  # type: ignore[index, union-attr]


def test_lovasz_loss_is_of_the_logits_in_use_at_stride_4() -> None:
    logits: list[torch.Tensor] = []  # [4, 3, 16, 32]
    task = {}
    for weight in (0.0, 0.7):
        made, x, labels = objective(lovasz=weight, prior=0.5, distill=0.0)
        made.network.register_forward_hook(lambda _, __, out: logits.append(out.detach()))
        task[weight] = made(x, labels, 3, torch.Generator().manual_seed(0))[1]
    torch.testing.assert_close(logits[0], logits[1])
    torch.testing.assert_close(task[0.7] - task[0.0], 0.7 * lovasz_loss(logits[0], labels[:, 2::4, 2::4]))


def test_without_teachers_the_judge_is_distilled_from() -> None:
    made, x, labels = objective(distill=2.0)
    judge = torch.randn(4, 3, 16, 32, generator=torch.Generator().manual_seed(2))
    alone, named = (made(x, labels, 3, torch.Generator().manual_seed(0), judge, t)[2] for t in (None, judge))
    assert float(alone.detach()) > 0
    torch.testing.assert_close(alone, named)


@pytest.mark.parametrize(
    ("settings", "some_low", "all_high"),
    [
        ({"mode": "dense"}, False, False),
        ({"mode": "dense", "teachers": ("a",)}, False, False),
        ({"mode": "mixed"}, True, True),  # it is distilled from
        ({"mode": "mixed", "distill": 0.0}, False, False),
        ({"mode": "mixed", "teachers": ("a",)}, False, False),
        ({"mode": "mixed", "taught_by": "a"}, False, False),
        ({"mode": "reinforce"}, True, True),
        ({"mode": "reinforce", "distill": 0.0}, True, False),  # blocks that all run high gain nothing
        ({"mode": "reinforce", "teachers": ("a",)}, True, False),
        ({"mode": "reinforce", "taught_by": "a"}, True, False),
        ({"mode": "reinforce", "reward": "borders"}, True, True),
        ({"mode": "reinforce", "reward": "borders", "distill": 0.0}, False, False),
        ({"mode": "reinforce", "reward": "loss"}, True, True),
        ({"mode": "reinforce", "reward": "loss", "distill": 0.0}, False, False),
        ({"mode": "reinforce", "reward": "loss", "teachers": ("a",)}, False, False),
    ],
)
def test_the_averaged_network_is_asked_where_it_is_needed(
    settings: dict[str, object], some_low: bool, all_high: bool
) -> None:
    config = TrainConfig(**settings)  # type: ignore[arg-type]
    assert (needs_judge(config, False), needs_judge(config, True)) == (some_low, all_high)


def test_where_all_blocks_run_high_the_policy_learns_nothing() -> None:
    made, x, labels = objective()
    loss, task, _, policy = made(x, labels, 8, torch.Generator().manual_seed(0))
    assert float(policy.detach()) == 0 and float(loss.detach()) == float(task.detach())
    loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in made.policy_net.parameters())  # type: ignore[union-attr]


def test_oracle_finds_where_low_resolution_loses() -> None:
    """The network tells bright from dark with every block high; with all low it takes everything for dark."""

    class Judge(torch.nn.Module):
        def forward(self, x: torch.Tensor, grid: Grid | None = None) -> torch.Tensor:
            bright = 4 * x[:, :1, ::4, ::4].sign() if grid is None else torch.full_like(x[:, :1, ::4, ::4], -4)
            return torch.cat([-bright, bright], 1)

    images = torch.zeros(1, 3, 64, 128, dtype=torch.uint8)
    images[:, :, :, 64:] = 255
    split = Split(images, (images[:, 0] > 0).to(torch.uint8))
    scores = oracle_scores(Judge(), split, torch.ones(2), 64)  # type: ignore[arg-type]
    assert scores.shape == (1, 1, 2)
    assert abs(float(scores[0, 0, 0])) < 0.3 and float(scores[0, 0, 1]) > 5
