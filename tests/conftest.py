"""Fixtures for every test. Tests never need a GPU, a display or a network unless their mark says so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# Before torch is loaded: its threads then leave the processor to others while they wait. Tests of networks take half of
# the time on two cores that something else keeps busy too.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked slow unless the command names the mark."""
    if "slow" in (config.option.markexpr or ""):
        return
    skip = pytest.mark.skip(reason="takes long; run by `pytest -m slow`")
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the authors' tensors and real footage, which is not part of the project."""
    if not _SHARED.is_dir():
        pytest.skip("the reference data beside the checkout is not here")
    return _SHARED


@pytest.fixture(scope="session")
def host_backend(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kernels as C++, each compiled once for all tests."""
    from tests.kernels.host.backend import HostBackend

    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    return HostBackend(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def host(host_backend: Any) -> Iterator[None]:
    """Kernels on CPU tensors run as C++ for the length of a file of tests."""
    from segstream.kernels import launcher

    launcher.set_host_backend(host_backend)
    yield
    launcher.set_host_backend(None)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where the kernels run: as C++ on the CPU, or on the GPU."""
    import torch

    from tests.gpu import need_gpu

    if request.param == "cpu":
        request.getfixturevalue("host")
    else:
        need_gpu()
    return torch.device(request.param)
