"""Two processes that share a batch get the gradients that one process gets from both halves."""

from __future__ import annotations

import socket
from pathlib import Path

import torch
import torch.multiprocessing as mp
from torch import Tensor

from segstream.blocks import Grid
from segstream.models import SwiftNet
from segstream.training.distributed import synchronise
from segstream.training.losses import mean_loss, pixel_loss


def network() -> SwiftNet:
    torch.manual_seed(0)
    return SwiftNet("efficientnet-lite1", 3).train()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels, and grids of which the halves have different numbers of tiles."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 3, 64, 128, generator=generator)
    labels = torch.randint(0, 3, (4, 64, 128), generator=generator)
    high = torch.tensor([[True, False], [True, True], [False, False], [True, False]])[:, None]
    return x, labels, high


def gradients(net: torch.nn.Module, part: slice, total: Tensor | None = None) -> None:
    x, labels, high = (value[part] for value in batch())
    loss, weight = pixel_loss(net(x, Grid(high, 64)), labels, torch.tensor([0.5, 1.0, 2.0]))
    mean_loss(loss, weight, total).backward()


def worker(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", world_size=2, rank=rank)
    net = torch.nn.parallel.DistributedDataParallel(synchronise(network()), broadcast_buffers=False)
    total = torch.tensor([0.5, 1.0, 2.0])[batch()[1]].sum() / 2  # as `Job` sums it over the processes
    gradients(net, slice(2 * rank, 2 * rank + 2), total)
    if rank == 0:
        net_state = net.module.state_dict()
        grads = {name: p.grad for name, p in net.module.named_parameters()}
        torch.save({"grads": grads, "state": net_state}, Path(folder) / "grads.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(worker, (port, str(tmp_path)), nprocs=2)
    found = torch.load(tmp_path / "grads.pt", weights_only=True)
    net = network()
    gradients(net, slice(0, 4))
    state = net.state_dict()
    for name, value in found["state"].items():
        if "running" in name:
            torch.testing.assert_close(value, state[name], atol=1e-4, rtol=1e-3)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        scale = float(parameter.grad.norm()) + 1e-3
        assert float((found["grads"][name] - parameter.grad).norm()) < 2e-2 * scale, name
