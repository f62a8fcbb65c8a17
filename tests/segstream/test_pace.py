"""The budget that follows a frame rate, and playing in time."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from segstream.errors import UsageError
from segstream.pace import BudgetController, Metronome


def run(controller: BudgetController, frames: int, cost, wish: float = 1.0, noise: float = 0.0, seed: int = 0):
    """Budgets and times of a network whose frames take `cost(share)` ms and that uses up to `wish` of the blocks."""
    dice = np.random.default_rng(seed)
    budgets, times = [], []
    for index in range(frames):
        share = min(controller.budget, wish)
        milliseconds = cost(share, index) * (1 + noise * dice.standard_normal())
        budgets.append(controller.update(milliseconds, share))
        times.append(milliseconds)
    return np.array(budgets), np.array(times)


@pytest.mark.parametrize("fixed", [5.0, 20.0])
@pytest.mark.parametrize("slope", [15.0, 40.0, 120.0])
@pytest.mark.parametrize("noise", [0.0, 0.08])
def test_a_rate_is_found_and_held(fixed: float, slope: float, noise: float) -> None:
    target = 30.0
    budgets, times = run(BudgetController(target), 400, lambda share, _: fixed + slope * share, noise=noise)
    settled = times[150:]
    reachable = min(1000 / target, fixed + slope)
    assert np.mean(settled) <= 1000 / target
    assert np.mean(settled) >= 0.75 * reachable  # and no quality is given away
    # Steady under a constant load.
    assert np.ptp(budgets[200:]) <= (0.02 if noise == 0 else 0.15)


def test_without_noise_it_comes_to_rest() -> None:
    budgets, _ = run(BudgetController(25), 300, lambda share, _: 10 + 60 * share)
    assert len(set(np.round(budgets[100:], 6))) == 1


def test_a_load_that_changes_is_followed() -> None:
    controller = BudgetController(25)
    budgets, times = run(controller, 600, lambda share, i: (10 + 40 * share) * (2.0 if 200 <= i < 400 else 1.0))
    assert np.mean(times[300:400]) <= 40 and np.mean(times[150:200]) <= 40
    slow = np.flatnonzero(times[200:] > 40)
    assert slow.size == 0 or slow.max() < 60 or np.mean(times[260:400] > 42) < 0.1
    assert budgets[590] > budgets[390] + 0.2  # and quality comes back


def test_unreachable_rates_end_at_zero_and_easy_ones_at_one() -> None:
    budgets, _ = run(BudgetController(200), 100, lambda share, _: 20 + 30 * share)
    assert budgets[-1] == 0
    budgets, _ = run(BudgetController(5), 100, lambda share, _: 20 + 30 * share)
    assert budgets[-1] == 1


def test_a_budget_that_is_not_used_is_not_raised() -> None:
    budgets, _ = run(BudgetController(25), 300, lambda share, _: 10 + 60 * share, wish=0.2)
    assert np.ptp(budgets[20:]) < 1e-9


def test_a_single_slow_frame_changes_nothing() -> None:
    budgets, _ = run(BudgetController(25), 120, lambda share, i: 400.0 if i == 60 else 30.0)
    assert np.ptp(budgets) == 0


def test_rates_that_mean_nothing() -> None:
    for fps in (0, -1, float("nan")):
        with pytest.raises(UsageError):
            BudgetController(fps)


def test_the_metronome_lets_frames_out_in_time() -> None:
    metronome, stop = Metronome(), threading.Event()
    begin = time.monotonic()
    for index in range(11):
        metronome.wait(index * 0.02, 1.0, stop)
    assert time.monotonic() - begin == pytest.approx(0.2, abs=0.05)
    metronome.wait(0.0, 1.0, stop)  # a jump back starts anew
    metronome.wait(5_000.0, 1.0, stop)  # and so does a leap
    assert time.monotonic() - begin < 0.4
    metronome.wait(5_004.0 - 4.0, 1.0, stop)
    waiting = threading.Thread(target=metronome.wait, args=(5_003.0, 1.0, stop))
    waiting.start()
    metronome.restart()  # a seek does not wait for the frame of before
    waiting.join(1)
    assert not waiting.is_alive()
