"""The block operations against the tensors that the authors' implementation wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segstream.blocks import Grid, combine, from_lists, pad, sample, to_lists

CASES = [f"case{i}" for i in range(5)]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, shared: Path) -> dict[str, Any]:
    with np.load(shared / "reference" / "blockops.npz") as file:
        return {k.split("/")[1]: torch.from_numpy(file[k]) for k in file if k.startswith(request.param + "/")}


def check(ours: torch.Tensor, theirs: torch.Tensor | None, count: int) -> None:
    if theirs is None:
        assert count == 0 and ours.shape[0] == 0
    else:
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 1e-5


def test_equals_the_authors(case: dict[str, Any]) -> None:
    x = case["x"].requires_grad_()
    grid = Grid(case["grid"], int(case["block"]))
    p = int(case["pad"])
    tiles = sample(x, grid)
    high, low = to_lists(tiles, grid)
    check(high, case.get("high"), grid.n_high)
    check(low, case.get("low"), grid.n_low)
    padded = pad(tiles, grid, p)
    combined = combine(tiles, grid, seamless=False)
    check(combined, case["combined"], 1)

    # A padded block is not four padded tiles, so take the block's own border from its corner tiles.
    q = tiles.shape[-1]
    corners = padded[: 4 * grid.n_high].view(grid.n_high, 2, 2, *padded.shape[1:])
    top = torch.cat([corners[:, 0, 0, :, : q + p, : q + p], corners[:, 0, 1, :, : q + p, p:]], -1)
    bottom = torch.cat([corners[:, 1, 0, :, p:, : q + p], corners[:, 1, 1, :, p:, p:]], -1)
    high_padded = torch.cat([top, bottom], -2)
    low_padded = padded[4 * grid.n_high :]
    check(high_padded, case.get("high_padded"), grid.n_high)
    check(low_padded, case.get("low_padded"), grid.n_low)

    loss = (combined * case["grad_combined"]).sum()
    for ours, name in ((high_padded, "grad_high_padded"), (low_padded, "grad_low_padded")):
        if name in case:
            loss = loss + (ours * case[name]).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    assert (gradient - case["grad_x"]).abs().max() < 1e-5


def test_lists_and_tiles_are_the_same(case: dict[str, Any]) -> None:
    grid = Grid(case["grid"], int(case["block"]))
    tiles = sample(case["x"], grid)
    assert torch.equal(from_lists(*to_lists(tiles, grid)), tiles)
