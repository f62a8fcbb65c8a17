"""One training: networks, optimiser, averaged weights, and the step that moves them."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segstream.models import ModelSpec, PolicyNet, SwiftNet
from segstream.models.spec import IMAGENET_MEAN, IMAGENET_STD
from segstream.training.augment import augment, seen_size
from segstream.training.config import TrainConfig
from segstream.training.objective import TERMS, Objective, judged, needs_judge, parameter_groups
from segstream.training.paste import Objects, paste
from segstream.training.reinforce import count_for

WARM_STEPS = 3  # eager steps before a step is captured as a CUDA graph, in which libraries choose their algorithms


class TrainingStopped(Exception):
    """A loss that is not a number; carries the step at which it was first seen."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss is not a number at step {step}")
        self.step = step


class Job:
    """A training in progress.

    On CUDA a step (augmentation, forward, backward, optimiser, averaging) is captured once for each number of high
    blocks and then replayed; every job has its own stream, so that several share the card.

    Args:
        config: settings.
        shares: float64 [K], how much of the labelled pixels each class has.
        image_size: height and width of the images that will come.
        device: where to train.
        world: number of processes that share each batch.
        rank: this process's number: each augments and samples its images by numbers of its own.
        network, policy_net: where to start from, in training mode; None starts from scratch. The policy network takes
            of the one given what fits. In mode "policy" the network does not learn.
        spec: of the model that the network is from, in mode "policy".
        graphs: capture steps as CUDA graphs.
        teachers: networks to distil from, in evaluation mode, at most one for each image of a process's part of a
            batch; none takes the averaged one.
        objects: what to paste into the images; None pastes nothing.

    Attributes:
        step: steps done.
        network, policy_net: averaged weights, which are evaluated and saved, in evaluation mode.
    """

    def __init__(
        self,
        config: TrainConfig,
        shares: Tensor,
        image_size: tuple[int, int],
        device: torch.device,
        world: int = 1,
        network: SwiftNet | None = None,
        policy_net: PolicyNet | None = None,
        spec: ModelSpec | None = None,
        graphs: bool = True,
        teachers: Sequence[SwiftNet] = (),
        rank: int = 0,
        objects: Objects | None = None,
    ) -> None:
        self.config, self.device, self.world, self.rank = config, device, world, rank
        self.seed = config.seed
        self.spec = spec
        self.objects = objects
        self.size = seen_size(image_size, config.input_size)  # of images at scale 1
        self.leader: Job | None = None
        self.lesson: tuple[list[Tensor], list[Tensor]] = ([], [])  # weights of its copy here, and its own
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if network is None:
                network = SwiftNet(config.encoder, len(shares), subpixel=config.subpixel, shallow=config.shallow)
                start_residuals_at_zero(network)
            policy_net = start_policy(config, policy_net)
        network.requires_grad_(config.mode != "policy")
        self.objective = Objective(config, network, policy_net, shares).to(device)
        if device.type == "cuda":
            self.objective = self.objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teachers = [
            teacher.requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for teacher in teachers
        ]
        self.module: nn.Module = self.objective
        self.averaged = copy.deepcopy(self.objective).eval().requires_grad_(False)
        self.pairs = averaged_pairs(self.averaged, self.objective, "policy_net." if config.mode == "policy" else "")
        cuda = device.type == "cuda"
        groups = parameter_groups(self.objective, config)
        for group in groups:
            group["lr"] = torch.zeros((), device=device) if cuda else 0.0
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=cuda, capturable=cuda)
        self.generator = torch.Generator(device)
        local = config.batch // world
        self.images = torch.zeros(local, 3, *image_size, dtype=torch.uint8, device=device)
        self.labels = torch.zeros(local, *image_size, dtype=torch.uint8, device=device)
        self.keep = torch.zeros((), device=device)  # decay of the averaged weights at this step
        self.sums = torch.zeros(len(TERMS) + 1, device=device)  # of the terms since the last report, and their count
        self.bad = torch.full((), -1, dtype=torch.int64, device=device)  # first step whose loss is not a number
        self.now = torch.zeros((), dtype=torch.int64, device=device)
        self.step = 0
        self.stream = torch.cuda.Stream(device) if cuda else None
        self.use_graphs = graphs and cuda and world == 1
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.warm: dict[int, int] = {}
        self.pool: Any = None
        self.events: list[torch.cuda.Event] = []

    @property
    def network(self) -> SwiftNet:
        return self.averaged.network

    @property
    def policy_net(self) -> PolicyNet | None:
        return self.averaged.policy_net

    @property
    def blocks(self) -> int:
        """Blocks in this process's part of a batch."""
        width, height = self.config.crop
        return (self.config.batch // self.world) * (width // self.config.block) * (height // self.config.block)

    def high_count(self, step: int) -> int:
        """How many blocks run high at a step; a function of seed and step alone."""
        if self.config.mode == "dense":
            return self.blocks
        if self.config.mode in ("reinforce", "policy"):
            images = self.config.batch // self.world
            each = self.blocks // images
            whole = count_for(self.config.whole, images)
            return whole * each + count_for(self.config.target, (images - whole) * each)
        levels = self.config.levels
        turn, place = divmod(step, len(levels))
        order = torch.randperm(len(levels), generator=torch.Generator().manual_seed(mixed_seed(self.seed, turn)))
        return count_for(levels[int(order[place])], self.blocks)

    def run_step(self, images: Tensor, labels: Tensor, done: float) -> None:
        """Train on a batch.

        Args:
            images: uint8 [N, 3, H, W].
            labels: uint8 [N, H, W].
            done: share of the training that is done, 0..1, which the learning rate follows.
        """
        count = self.high_count(self.step)
        if self.stream is None:
            self._prepare(images, labels, done)
            self._step(count)
        else:
            self.stream.wait_stream(torch.cuda.current_stream(self.device))
            if self.leader is not None and self.leader.stream is not None:
                self.stream.wait_stream(self.leader.stream)
            with torch.cuda.stream(self.stream):
                self._prepare(images, labels, done)
                if self.leader is not None and self.leader.stream is not None:
                    self.leader.stream.wait_stream(self.stream)  # it must not move its weights while they are copied
                self._step_cuda(count)
                self.events.append(self.stream.record_event())
            images.record_stream(self.stream)
            labels.record_stream(self.stream)
            if len(self.events) > 4:  # do not run ahead of the card: its clock is what ends a timed run
                self.events.pop(0).synchronize()
        self.step += 1

    def _prepare(self, images: Tensor, labels: Tensor, done: float) -> None:
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.generator.manual_seed(mixed_seed(self.seed, self.step, *([self.rank] if self.rank else [])))
        factor = min(1.0, (self.step + 1) / self.config.warmup) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done)))
        for group in self.optimizer.param_groups:
            rate = group["peak"] * max(factor, 1e-3)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self.keep.fill_(min(self.config.ema, (1 + self.step) / (10 + self.step)))
        self.now.fill_(self.step)
        if self.leader is not None:
            torch._foreach_copy_(*self.lesson)

    def _step_cuda(self, count: int) -> None:
        if not self.use_graphs:
            self._step(count)
        elif count in self.graphs:
            self.graphs[count].replay()
        elif self.warm.get(count, 0) < WARM_STEPS:
            self.warm[count] = self.warm.get(count, 0) + 1
            self._step(count)
        else:
            self.optimizer.zero_grad(set_to_none=True)
            torch.cuda.synchronize(self.device)
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(self.generator)
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                self._step(count)
            self.pool = graph.pool()
            self.graphs[count] = graph
            graph.replay()

    def _step(self, count: int) -> None:
        config = self.config
        cuda = self.device.type == "cuda"
        self.optimizer.zero_grad(set_to_none=True)
        images, labels = self.images, self.labels
        if self.objects is not None:
            images, labels = paste(images, labels, self.objects, config.pasted, self.generator)
        x, labels = augment(
            images,
            labels,
            config.crop,
            config.scale,
            config.jitter,
            IMAGENET_MEAN,
            IMAGENET_STD,
            self.generator,
            config.aspect,
            self.size,
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=cuda, cache_enabled=False):
            if cuda:
                x = x.to(torch.bfloat16, memory_format=torch.channels_last)
            judge = teacher = None
            with torch.no_grad():
                if needs_judge(config, count == self.blocks):
                    judge = self.averaged.network(x[judged(config, len(x))])
                if self.teachers:
                    teacher = self.ask_teachers(x)
            terms = self.module(x, labels, count, self.generator, judge, teacher, self._total(labels))
        terms[0].backward()
        # Each by itself, so that the policy's gradient cannot take the network's share.
        for module in (self.objective.network, self.objective.policy_net):
            if module is not None:
                nn.utils.clip_grad_norm_(module.parameters(), 5.0, foreach=True)
        self.optimizer.step()
        with torch.no_grad():
            self._average()
            self.sums[:-1] += terms.detach()
            self.sums[-1] += 1
            broken = (self.bad < 0) & ~torch.isfinite(terms[0])
            self.bad.copy_(torch.where(broken, self.now, self.bad))

    def learn_from(self, leader: Job) -> None:
        """Distil from the averaged network of another training, which goes on beside this one.

        To be called before the first step. Every step takes a copy, so that the other need not wait until this one has
        asked it.
        """
        self.leader = leader
        self.teachers = [copy.deepcopy(leader.network)]
        self.lesson = averaged_pairs(self.teachers[0], leader.network)

    def ask_teachers(self, x: Tensor) -> Tensor:
        """Logits of a batch with every block high, each image's by one teacher.

        Image i is asked of teacher ((i - step) modulo N) modulo their number, so that over N steps each place in the
        batch, where drawn scenes always lie at the end, meets every teacher.

        Args:
            x: float [N, 3, H, W], normalised, at least as many images as there are teachers.

        Returns:
            [N, K, H/4, W/4].
        """
        # The step as a tensor: as a number it would stay in a CUDA graph what it was at the capture.
        places = (torch.arange(len(x), device=x.device) + self.now) % len(x)
        turned = x.index_select(0, places)
        parts = [teacher(turned[i :: len(self.teachers)]) for i, teacher in enumerate(self.teachers)]
        logits = parts[0].new_empty(len(x), *parts[0].shape[1:])
        for i, part in enumerate(parts):
            logits.index_copy_(0, places[i :: len(self.teachers)], part)
        return logits

    def _total(self, labels: Tensor) -> Tensor | None:
        """Mean over processes of the sum of pixel weights, so that a spread batch has one cross-entropy.

        None in one process. The other terms (Lovász, distillation, policy) are means over the processes of what each
        makes of its own images.
        """
        if self.world == 1:
            return None
        weights = self.objective.weights
        known = labels < len(weights)
        total = (weights[torch.where(known, labels, 0)] * known).sum()
        torch.distributed.all_reduce(total)
        return total / self.world

    def _average(self) -> None:
        mine, theirs = self.pairs
        torch._foreach_mul_(mine, self.keep)
        torch._foreach_add_(mine, torch._foreach_mul(theirs, 1 - self.keep))

    def report(self) -> dict[str, float]:
        """Means of the terms since the last report; empty where there was no step.

        Raises:
            TrainingStopped: if a loss was not a number.
        """
        if self.stream is not None:
            self.stream.synchronize()
        bad = int(self.bad)
        if bad >= 0:
            raise TrainingStopped(bad)
        *sums, count = self.sums.tolist()
        self.sums.zero_()
        return {name: value / count for name, value in zip(TERMS, sums, strict=True)} if count else {}

    def state(self) -> dict[str, Any]:
        """Everything a run needs to go on as if it had not stopped."""
        return {
            "step": self.step,
            "objective": self.objective.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sums": self.sums,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave; before the first step."""
        self.step = state["step"]
        self.objective.load_state_dict(state["objective"])
        self.averaged.load_state_dict(state["averaged"])
        # How the optimiser works is up to this device, whichever the checkpoint was made on.
        optimizer = state["optimizer"]
        for was, now in zip(optimizer["param_groups"], self.optimizer.param_groups, strict=True):
            was.update({key: now[key] for key in ("lr", "fused", "capturable")})
        self.optimizer.load_state_dict(optimizer)
        self.sums.copy_(state["sums"])


def mixed_seed(*numbers: int) -> int:
    """One 63-bit seed of several numbers, alike for no two steps or runs."""
    value = 0x9E3779B97F4A7C15
    for number in numbers:
        value = ((value ^ (number + 1)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 31
    return value >> 1


def averaged_pairs(averaged: nn.Module, objective: nn.Module, prefix: str = "") -> tuple[list[Tensor], list[Tensor]]:
    """The floating-point tensors of both modules whose names begin with `prefix`, in the same order."""
    mine, theirs = averaged.state_dict(keep_vars=False), objective.state_dict(keep_vars=False)
    kept = [name for name, value in mine.items() if value.is_floating_point() and name != "weights"]
    names = [name for name in kept if name.startswith(prefix)]
    return [mine[name] for name in names], [theirs[name] for name in names]


def start_policy(config: TrainConfig, before: PolicyNet | None) -> PolicyNet | None:
    """The policy network of a training, with what fits of the weights of one `before`; None where the mode has none."""
    if config.mode not in ("reinforce", "policy"):
        return None
    if before is None:
        return PolicyNet(context=config.context, detail=config.detail or None)
    weights = before.state_dict()
    made = PolicyNet(weights["layers.0.weight"].shape[0], config.context, config.detail or None)
    wanted = made.state_dict()
    fitting = {k: v for k, v in weights.items() if k in wanted and v.shape == wanted[k].shape and k != "detail"}
    made.load_state_dict(fitting, strict=False)
    return made


def start_residuals_at_zero(network: SwiftNet) -> None:
    """Let each residual block begin as its shortcut (Goyal et al. 2017), which trains sooner from scratch."""
    for module in network.encoder.modules():
        last = getattr(module, "bn3", None) or getattr(module, "bn2", None)
        if isinstance(last, nn.BatchNorm2d) and hasattr(module, "downsample"):
            nn.init.zeros_(last.weight)
