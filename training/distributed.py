"""Training over several processes started by `torchrun`: joining, spreading a job, synchronised batch norm."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from segstream.training.job import Job


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a training.

    Attributes:
        rank, size: this process's number among how many.
        device: this process's device; None where `torchrun` is not used.
    """

    rank: int = 0
    size: int = 1
    device: torch.device | None = None

    def largest(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over all processes, which must all ask for as many."""
        if self.size == 1:
            return list(values)
        found = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return found.tolist()


def join(device_name: str) -> World:
    """Join the processes that `torchrun` started, or be alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    cuda = device_name.startswith("cuda") or (device_name == "auto" and torch.cuda.is_available())
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    return World(dist.get_rank(), size, device)


def leave(world: World, jobs: Sequence[Job], wait: bool = True) -> None:
    """Part from the other processes, once they are as far unless `wait` is false; the jobs stay, unspread."""
    if world.size > 1 and dist.is_initialized():
        # A spread module that outlives the group ends it from Python's own thread, which its threads then wait for.
        for job in jobs:
            job.module = job.objective
        if wait:
            dist.barrier()
        dist.destroy_process_group()


def spread(job: Job, world: World) -> None:
    """Let a job share its batches with the other processes: batch norm and gradients over all of them."""
    if world.size == 1:
        return
    job.objective = cast(Any, synchronise(job.objective))
    ids = [world.device.index] if world.device is not None and world.device.type == "cuda" else None
    job.module = nn.parallel.DistributedDataParallel(job.objective, device_ids=ids, broadcast_buffers=False)


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the pixels of all processes, of which each may have another number of tiles.

    torch's own refuses CPU tensors. High and low tiles count alike, pixel by pixel, as on one process.
    """

    def forward(self, x: Tensor) -> Tensor:  # [T, C, q, q]
        if not self.training:
            return super().forward(x)
        dims = (0, 2, 3)
        pixels = x.shape[0] * x.shape[2] * x.shape[3]
        floats = x.to(torch.promote_types(x.dtype, torch.float32))
        first = all_reduce(torch.cat([floats.sum(dims), floats.new_full((1,), pixels)]))
        count = first[-1].detach()
        mean = first[:-1] / count
        centred = floats - mean[:, None, None]
        var = all_reduce((centred**2).sum(dims)) / count
        with torch.no_grad():
            momentum = self.momentum or 0.1
            cast(Tensor, self.running_mean).lerp_(mean, momentum)
            cast(Tensor, self.running_var).lerp_(var * count / (count - 1).clamp(min=1), momentum)
        scale = self.weight * torch.rsqrt(var + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def synchronise(module: nn.Module) -> nn.Module:
    """Replace every batch norm in a module by `SyncBatchNorm`, in place; parameters and buffers are kept."""
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = SyncBatchNorm
    return module
