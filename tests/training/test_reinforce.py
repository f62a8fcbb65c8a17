"""The policy's training: the share is exact, and blocks that gain are learned."""

from __future__ import annotations

import torch

from segstream.training.reinforce import calibrate, policy_loss, sample_blocks, top_blocks


def test_samples_are_exactly_as_many_as_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 5, generator=generator)
    for count in (0, 1, 17, 60):
        high, _ = sample_blocks(logits, count, generator)
        assert int(high.sum()) == count


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
