"""Choosing the engine: what the user is told."""

from __future__ import annotations

import logging

import pytest
import torch

from segstream.engines import choose
from segstream.errors import UsageError
from segstream.models import load_model
from tests.gpu import need_gpu


def test_auto_says_once_why_it_runs_on_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    if choose.cuda_problem() is None:
        pytest.skip("this machine has a GPU that works")
    choose.say_cpu.cache_clear()
    model = load_model("untrained-rn18")
    with caplog.at_level(logging.INFO, logger="segstream"):
        for _ in range(2):
            choose.make_engine(model, "auto").close()
    told = [record.getMessage() for record in caplog.records if "running on the CPU" in record.getMessage()]
    assert len(told) == 1
    assert ":" in told[0].removeprefix("running on the CPU: ")  # the reason, and what to do about it


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:²", "cuda:-1", "cudas", "torch:nowhere"])
def test_devices_that_do_not_exist_are_one_sentence(device: str) -> None:
    with pytest.raises(UsageError, match="device"):
        choose.make_engine(load_model("untrained-rn18"), device)


def test_cuda_by_name_without_a_gpu_says_what_to_do() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UsageError, match="use --device cpu"):
        choose.make_engine(load_model("untrained-rn18"), "cuda")


@pytest.mark.cuda
def test_a_gpu_that_is_not_here_says_how_many_are() -> None:
    need_gpu()
    cards = torch.cuda.device_count()
    choose.check_device(f"cuda:{cards - 1}")
    with pytest.raises(UsageError, match=f"no device 'cuda:{cards}': torch sees {cards} GPU"):
        choose.make_engine(load_model("untrained-rn18"), f"cuda:{cards}")
