"""Pictures of grids for TensorBoard."""

from __future__ import annotations

import torch

from segstream.training.tracking import with_grid


def test_a_grid_is_drawn_block_by_block() -> None:
    """Also where the last blocks of a row or column are mostly padding, so that their number does not tell the size."""
    image = torch.full((3, 130, 130), 100, dtype=torch.uint8)
    seen = with_grid(image, torch.tensor([[True, False], [False, True]]), 128)
    assert (seen[:, :128, :128] == 100).all() and (seen[:, 128:, 128:] == 100).all()
    assert (seen[:, :128, 128:] == 40).all() and (seen[:, 128:, :128] == 40).all()
