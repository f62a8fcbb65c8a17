"""Every test of the block operations runs twice: the kernels on a GPU (mark cuda), and the same source as C++ here."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from segstream.kernels import launcher


def host_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("host_backend", Path(__file__).parent / "host" / "backend.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kernels on CPU tensors run as C++ for the length of the tests."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    launcher.set_host_backend(host_module().HostBackend(tmp_path_factory.mktemp("host")))
    yield
    launcher.set_host_backend(None)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where the kernels run: as C++ on the CPU, or on the GPU."""
    if request.param == "cpu":
        request.getfixturevalue("host")
    else:
        reason = launcher.problem()
        if reason:
            pytest.skip(reason)
    return torch.device(request.param)
