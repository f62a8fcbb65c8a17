"""Two processes that share a batch get the cross-entropy's gradients that one gets from both halves; `torchrun` trains
to the end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
import yaml
from torch import Tensor

from segstream.blocks import Grid
from segstream.models import SwiftNet, read_model
from segstream.training.data import Order
from segstream.training.distributed import synchronise
from segstream.training.losses import mean_loss, pixel_loss

ROOT = Path(__file__).resolve().parents[2]


def network() -> SwiftNet:
    torch.manual_seed(0)
    # In double precision: batch norm over the few pixels at stride 32 turns float32's rounding into per cents.
    return SwiftNet("efficientnet-lite1", 3).double().train()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels, and grids of which the halves have different numbers of tiles."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 3, 64, 128, generator=generator)
    labels = torch.randint(0, 3, (4, 64, 128), generator=generator)
    high = torch.tensor([[True, False], [True, True], [False, False], [True, False]])[:, None]
    return x, labels, high


def gradients(net: torch.nn.Module, part: slice, total: Tensor | None = None) -> None:
    x, labels, high = (value[part] for value in batch())
    logits = net(x.double(), Grid(high, 64)).float()
    loss, weight = pixel_loss(logits, labels, torch.tensor([0.5, 1.0, 2.0]))
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
            torch.testing.assert_close(value, state[name], atol=1e-9, rtol=1e-9)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        scale = float(parameter.grad.norm()) + 1e-6
        assert float((found["grads"][name] - parameter.grad).norm()) < 1e-5 * scale, name


def test_processes_share_a_batch_and_its_drawn_scenes() -> None:
    alone = Order(10, 5, 0.25, 16, seed=3)
    parts = [Order(10, 5, 0.25, 16, seed=3, rank=rank, world=4).indices(7) for rank in range(4)]
    assert sorted(index for part in parts for index in part) == sorted(alone.indices(7))
    for part in parts:
        assert [index >= 10 for index in part] == [False, False, False, True]


def torchrun(settings: dict[str, object], data: Path, folder: Path, *more: str) -> dict[str, Any]:
    """Train in two processes, in `folder`; the results."""
    (folder / "two.yaml").write_text(yaml.safe_dump(settings))
    arguments = ["--config", "two.yaml", "--data", str(data), "--out", "runs", "--device", "cpu", *more]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(ROOT / "training" / "train.py"), *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "runs" / "two" / "results.json").read_text())


@pytest.mark.slow
def test_torchrun_ends_by_the_clock(camvid: Path, tmp_path: Path) -> None:
    """Both processes at the same step, though each has a clock of its own."""
    settings = {"name": "two", "mode": "dense", "encoder": "efficientnet-lite1", "crop": [128, 64], "batch": 4}
    results = torchrun({**settings, "epochs": 99999, "evaluations": 2}, camvid, tmp_path, "--time-limit", "40")
    assert 10 < results["steps"] < 99999 and len(results["history"]) == 2
    assert results["seconds"] < 40


@pytest.mark.parametrize("mode", ["reinforce", "mixed", "policy"])
def test_torchrun_trains_to_the_end(mode: str, signs: Path, tmp_path: Path) -> None:
    settings = {
        "name": "two",
        "mode": mode,
        "encoder": "efficientnet-lite1",
        "crop": [128, 64],
        "batch": 4,
        "epochs": 2,
    }
    settings |= {"evaluations": 1, "target": 0.5, "lovasz": 0.5, "reward": "borders", "policy_loss": "regression"}
    settings |= {"subpixel": True, "levels": [1.0, 0.5]}  # a step of "mixed" without a low block, and one with
    if mode == "mixed":
        settings |= {"encoder": "resnet18", "shallow": [3, 4], "levels": [1.0, 0.0]}  # one without a high one
    settings["whole"] = 0.5  # of the two images that each process has
    if mode == "policy":
        settings |= {"encoder": "resnet18", "init": "untrained-rn18", "subpixel": False, "context": 1, "distill": 0.0}
    results = torchrun({**settings, "pasted": 2.0}, signs, tmp_path)
    assert results["steps"] == 2
    assert read_model(tmp_path / "runs" / "two" / "two.safetensors").policy_net is None or mode != "mixed"
