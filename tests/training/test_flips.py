"""Flips of blocks: grids follow the settings, and every pair of settings gets its row."""

from __future__ import annotations

import numpy as np

from segstream.segmenter import Segmenter
from segstream.training.flips import grids_of, main


def test_grids_follow_the_settings() -> None:
    with Segmenter("untrained-rn18", device="cpu", policy="heuristic", size=(512, 256), block=64) as segmenter:
        segmenter.steady, segmenter.borders = 0.0, 0.0
        alone = grids_of("demo", segmenter, 12)
        segmenter.steady = 1.0
        held = grids_of("demo", segmenter, 12)
    assert alone.shape == held.shape and len(alone) == 12
    assert np.array_equal(alone[0], held[0])
    assert np.any(alone[1:] < alone[:-1]) and np.all(held[1:] >= held[:-1])  # what was high once stays high


def test_command_prints_a_row_for_each_pair(capsys) -> None:
    pairs = ["--looking-back", "0", "0", "--looking-back", "0.5", "1"]
    main(["demo", "--model", "untrained-rn18", "--policy", "heuristic", "--frames", "2", *pairs], standalone_mode=False)
    rows = [line for line in capsys.readouterr().out.splitlines() if "demo" in line]
    assert len(rows) == 2 and "0.5" in rows[1]
