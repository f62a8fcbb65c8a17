"""The command `training/evaluate.py` on drawn scenes: policies, budget, oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "training" / "evaluate.py"), "untrained-rn18", "--dataset", "camvid"]
    return subprocess.run([*command, *arguments, "--device", "cpu"], capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize("policy", ["oracle", "heuristic"])
def test_command_measures_a_policy(policy: str, camvid: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = evaluate("--data", str(camvid), "--policy", policy, "--budget", "0.5", "--json", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["policy"] == policy and found["images"] == 1
    assert found["high_share"] == 0.5 if policy == "oracle" else found["high_share"] <= 0.5
    assert found["gmacs"] < found["dense_gmacs"]
    assert "mean" in done.stdout and "GMAC" in done.stdout


def test_command_says_what_is_missing(camvid: Path) -> None:
    done = evaluate("--data", str(camvid), "--policy", "oracle")
    assert done.returncode == 2 and "--budget" in done.stderr and "Traceback" not in done.stderr
