"""Tests that need a GPU are skipped where there is none, and only there."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from segstream.kernels import launcher


def need_gpu() -> None:
    """Skip a test on a machine without a GPU or without PyCUDA. Kernels that cannot run for another reason fail it."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    if importlib.util.find_spec("pycuda") is None:
        pytest.skip("PyCUDA is not installed")
    reason = launcher.problem()
    assert reason is None, reason
