"""Labels without enlarged logits, against enlarging them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from segstream.engines.cpu_labels import to_labels


def enlarged(logits: torch.Tensor, frame: tuple[int, int]) -> torch.Tensor:
    """Logits [H, W, K] at the frame's size, [K, *frame]."""
    return F.interpolate(logits.permute(2, 0, 1)[None], size=frame, mode="bilinear", align_corners=False)[0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    frame=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    classes=st.integers(1, 21),
)
def test_equals_enlarging_the_logits(seed: int, height: int, width: int, frame: tuple[int, int], classes: int) -> None:
    logits = torch.randn(height, width, classes, generator=torch.Generator().manual_seed(seed))
    expected = enlarged(logits, frame)
    found = torch.from_numpy(to_labels(logits, frame)).long()
    # Not the classes themselves: two may be equal but for rounding.
    missing = expected.amax(0) - expected.gather(0, found[None])[0]
    assert missing.max() < 1e-5


@pytest.mark.parametrize("frame", [(128, 192), (100, 171), (37, 41)])
def test_a_class_that_no_logit_has_may_win_between_two(frame: tuple[int, int]) -> None:
    """Two classes fade into each other and a third, nowhere the largest, is the largest half-way."""
    logits = torch.zeros(32, 48, 3)
    logits[:, :24, 0] = logits[:, 24:, 1] = 4
    logits[:, :24, 1] = logits[:, 24:, 0] = -4
    logits[:, :, 2] = 3
    found = to_labels(logits, frame)
    assert 2 in found
    assert (found == enlarged(logits, frame).argmax(0).numpy()).mean() >= 0.999


def test_takes_a_part_of_a_larger_canvas() -> None:
    canvas = torch.randn(24, 40, 11, generator=torch.Generator().manual_seed(7))
    part = canvas[:20, :33]
    assert (to_labels(part, (80, 132)) == enlarged(part, (80, 132)).argmax(0).numpy()).mean() >= 0.999
