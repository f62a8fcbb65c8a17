"""The training loop: one or more runs side by side on one device, evaluated, saved and ended in time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segstream.errors import OutputError, SegstreamError, UsageError
from segstream.evaluate import pick_device
from segstream.training.checkpoint import load_checkpoint, replace_file, save_checkpoint
from segstream.training.config import TrainConfig
from segstream.training.data import Joined, Order
from segstream.training.distributed import World
from segstream.training.job import WARM_STEPS, Job, TrainingStopped
from segstream.training.result import finish, quick_results
from segstream.training.setup import Data
from segstream.training.tracking import Tracker

CHECKPOINT_SECONDS = 120
REPORT_SECONDS = 10
FREE = ("name", "data_dir", "epochs", "evaluations")  # settings that a resumed run may change


@dataclass(slots=True)
class Run:
    """A training with its place on disk and what it has reached.

    Attributes:
        best: averaged weights of the best evaluation so far, and its score.
        history: one entry an evaluation.
        reached: share of the training that is done, 0..1.
        resumed: the step at which a run goes on that a clock had brought further than its steps, and its `reached`.
        replaced: files of an earlier training, which this one removes once it runs.
        leader: the run that this one learns from, the setting `taught_by`.
        error: why the run ended early, or empty.
    """

    config: TrainConfig
    job: Job
    order: Order
    samples: Joined
    out: Path
    total_steps: int
    tracker: Tracker
    best_score: float = -1.0
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    evaluated: int = 0
    seconds: float = 0.0
    reached: float = 0.0
    resumed: tuple[int, float] = (0, 0.0)
    replaced: list[Path] = field(default_factory=list)
    leader: Run | None = None
    error: str = ""
    finished: bool = False

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    def done(self, time_share: float) -> float:
        """Share of the training that is done, 0..1: of the steps, or of the time where that is more.

        Args:
            time_share: share of the time that has passed since the training began or went on.
        """
        begun, reached = self.resumed
        steps = (self.job.step - begun) / max(1, self.total_steps - begun)
        return reached + (1 - reached) * min(1.0, max(steps, time_share))

    def follow(self, leader: Run) -> None:
        """Learn from another run, which is trained beside this one; before the first step."""
        self.leader = leader
        self.job.learn_from(leader.job)

    def state(self) -> dict[str, Any]:
        keys = ("best_score", "best", "history", "seconds", "reached", "resumed", "total_steps")
        return {"config": self.config.to_dict(), "job": self.job.state(), **{key: getattr(self, key) for key in keys}}

    def resume(self) -> None:
        """Go on from the checkpoint in `out`.

        Raises:
            UsageError: if it was made under other settings; only FREE ones may differ.
        """
        state = load_checkpoint(self.checkpoint, self.job.device)
        now = self.config.to_dict()
        was = {**TrainConfig().to_dict(), **state["config"]}  # what a checkpoint is too old to know, it went without
        unlike = [f"{key} ({was[key]!r}, now {now[key]!r})" for key in now if key not in FREE and was[key] != now[key]]
        if unlike:
            raise UsageError(
                f"the checkpoint {self.checkpoint} was made under other settings: {', '.join(unlike)}; give the same, "
                "or start anew in another --out."
            )
        self.job.load_state(state["job"])
        for key in ("best_score", "best", "history", "seconds"):
            setattr(self, key, state[key])
        if state.get("total_steps", self.total_steps) == self.total_steps:
            # Where a clock had brought the learning rate further down than the steps say, it goes on from there.
            self.resumed = state.get("resumed", self.resumed)
            if state.get("reached", 0.0) > self.done(0.0) + 1e-9:
                self.resumed = (self.job.step, state["reached"])
        self.reached = self.done(0.0)
        self.evaluated = due(self)


class Clock:
    """Share of the time that has passed of what a run may take."""

    def __init__(self, deadline: float | None) -> None:
        self.started = time.monotonic()
        self.deadline = deadline

    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def share(self) -> float:
        return 0.0 if self.deadline is None else self.passed() / max(1e-3, self.deadline - self.started)


def train(
    runs: list[Run],
    data: Data,
    deadline: float | None,
    say: Callable[[str], None],
    stop: Callable[[], bool],
    world: World | None = None,
) -> bool:
    """Train every run to its end, a step of each in turn.

    The learning rate follows the share of the steps that are done or, if there is a deadline and it comes first, of the
    time: either way a run ends at a learning rate of nothing.

    Args:
        runs: what to train.
        data: what to evaluate on.
        deadline: `time.monotonic()` by which training must end; None trains all epochs.
        say: prints a line.
        stop: true once the user wants to stop.
        world: the processes that share each batch; None is this one alone.

    Returns:
        Whether all runs were trained to their end; False if they were stopped, with checkpoints written.
    """
    clock, world = Clock(deadline), world or World()
    reported = saved = 0.0
    since = {id(run): run.job.step for run in runs}
    share = world.largest([clock.share()])[0]
    while any(not run.finished for run in runs):
        for run in runs:
            if not run.finished:
                guarded(run, partial(advance, run, data, share, say), say, world, in_step=True)
        # All processes go by the same clock: one that took another step than the others would wait for them for ever.
        now, share, stopping = world.largest([clock.passed(), clock.share(), float(stop())])
        share_failures(runs, world)
        for run in runs:
            if not run.finished:
                guarded(run, partial(check_leader, run), say, world)
        if now - reported > REPORT_SECONDS:
            for run in runs:
                if not run.finished:
                    speed = (run.job.step - since[id(run)]) * run.config.batch / (now - reported)
                    since[id(run)] = run.job.step
                    guarded(run, partial(progress, run, speed, say), say, world)
            reported = now
        if stopping or now - saved > CHECKPOINT_SECONDS:
            for run in runs:
                if not run.error and (stopping or not run.finished):
                    guarded(run, partial(save, run), say, world)
            saved = now
        share_failures(runs, world)
        if stopping:
            return False
    return True


def share_failures(runs: list[Run], world: World) -> None:
    """End in every process what has failed in any."""
    if world.size > 1:
        for run, failed in zip(runs, world.largest([float(bool(run.error)) for run in runs]), strict=True):
            if failed and not run.error:
                run.error = f"the training {run.config.name} stopped in another process, which says why."
                run.finished = True


def check_leader(run: Run) -> None:
    """End a run whose leader has failed: it would learn on from what that had reached by then.

    Raises:
        SegstreamError: if it has.
    """
    if run.leader is not None and run.leader.error:
        raise SegstreamError(f"the training {run.config.name} stopped with {run.leader.config.name}, which taught it.")


def guarded(
    run: Run, action: Callable[[], None], say: Callable[[str], None], world: World, in_step: bool = False
) -> None:
    """Do something for a run; where that fails the run ends, and the others go on.

    Raises:
        SegstreamError, RuntimeError: what fails in a step that other processes take with this one: they wait for it,
            and end when it does.
    """
    try:
        action()
    except TrainingStopped as stopped:
        names = ", ".join(run.samples.names[i] for i in run.order.indices(stopped.step))
        run.error = (
            f"the training {run.config.name} stopped: {stopped}; its batch was {names}. Look at these files, or lower "
            "the learning rate."
        )
        if run.leader is not None and int(run.leader.job.bad) >= 0:  # its batch has no part in that
            run.error = f"the training {run.config.name} stopped with {run.leader.config.name}, which taught it."
    except SegstreamError as error:
        if in_step and world.size > 1:
            raise
        run.error = str(error)
    except RuntimeError as error:  # torch's own, such as too little memory
        if in_step and world.size > 1:
            raise
        run.error = f"the training {run.config.name} failed at step {run.job.step}: {error}"
    if run.error:
        run.finished = True
        say(run.error)


def advance(run: Run, data: Data, time_share: float, say: Callable[[str], None]) -> None:
    """One step of a run, and what is due after it."""
    job = run.job
    begun = time.monotonic()
    run.reached = run.done(time_share)
    if run.reached < 1:
        images, labels = run.samples.take(run.order.indices(job.step))
        job.run_step(images, labels, run.reached)
        run.samples.prefetch(run.order.indices(job.step))
        run.reached = run.done(time_share)
        if job.step > WARM_STEPS:  # by then it is known to run
            remove_replaced(run)
    if due(run) > run.evaluated:
        run.evaluated = due(run)
        evaluate_now(run, data, run.reached, say)
    run.seconds += time.monotonic() - begun
    if run.reached >= 1:
        save(run)
        run.finished = True


def remove_replaced(run: Run) -> None:
    """Remove what an earlier training left, so that nobody takes it for this one's.

    Raises:
        OutputError: if a file cannot be removed.
    """
    for file in run.replaced:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot remove {file} ({error}): give another --out.") from error
    run.replaced = []


def due(run: Run) -> int:
    """How many evaluations a run should have had by now."""
    return int(run.reached * run.config.evaluations + 1e-9)


def evaluate_now(run: Run, data: Data, done: float, say: Callable[[str], None]) -> None:
    """Evaluate the averaged weights on val and keep them if they are the best so far."""
    terms = run.job.report()
    results, score, grids = quick_results(run.job, run.config, data)
    entry = {"step": run.job.step, "epoch": run.job.step / run.order.steps_per_epoch, "score": score, **results}
    run.history.append(entry)
    run.tracker.evaluation(run.job.step, {**terms, **results}, data, grids, run.config.block)
    if score > run.best_score:
        run.best_score = score
        run.best = {key: value.detach().clone() for key, value in run.job.averaged.state_dict().items()}
    figures = "  ".join(f"{key} {value:.4f}" for key, value in results.items())
    say(f"{run.config.name}: {100 * done:3.0f} %  epoch {entry['epoch']:.0f}  {figures}")


def progress(run: Run, speed: float, say: Callable[[str], None]) -> None:
    """Print and record how the training goes."""
    terms = run.job.report()
    run.tracker.scalars(run.job.step, {**terms, "images_per_second": speed})
    losses = "  ".join(f"{key} {value:.4f}" for key, value in terms.items() if value)
    epoch = run.job.step / run.order.steps_per_epoch
    say(f"{run.config.name}: step {run.job.step}  epoch {epoch:.1f}  {speed:.0f} images/s  {losses}")


def save(run: Run) -> None:
    """Write the checkpoint, unless the weights are broken."""
    run.job.report()
    remove_replaced(run)
    save_checkpoint(run.checkpoint, run.state())


def conclude(runs: list[Run], data: Data, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure each run's best weights under every policy, write its model and its results; returns the results."""
    collected: list[dict[str, Any]] = []
    for run in runs:
        if not run.error:
            guarded(run, partial(measure_best, run, data, say, collected), say, World())
    return collected


def measure_best(run: Run, data: Data, say: Callable[[str], None], collected: list[dict[str, Any]]) -> None:
    """Measure a run's best weights, write its model and its results, and add the results to those `collected`."""
    if run.best:
        run.job.averaged.load_state_dict(run.best)
    results = finish(run.job, run.config, data, run.out)
    results |= {"epochs": run.job.step / run.order.steps_per_epoch, "steps": run.job.step}
    results |= {"seconds": run.seconds, "history": run.history, "config": run.config.to_dict()}
    text = json.dumps(results, indent=1) + "\n"
    replace_file(run.out / "results.json", "the results", lambda file: file.write(text.encode()))
    run.tracker.close()
    collected.append(results)
    say(f"{run.config.name}: {json.dumps(results['policies'])}")


def device_of(name: str) -> torch.device:
    """The device to train on: "auto" is CUDA where there is one.

    Raises:
        UsageError: if there is no such device.
    """
    return torch.device(pick_device(name))
