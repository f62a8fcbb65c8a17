"""Fixtures for every test. Tests never need a GPU, a display or a network unless their mark says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the authors' tensors and real footage, which is not part of the project."""
    if not _SHARED.is_dir():
        pytest.skip("the reference data beside the checkout is not here")
    return _SHARED
