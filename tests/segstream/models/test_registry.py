"""The models that are installed with the program."""

from __future__ import annotations

import numpy as np
import pytest

from segstream import Segmenter
from segstream.models import DEFAULT_MODEL, load_model, model_names
from segstream.models.registry import WEIGHTS


def test_the_default_comes_first() -> None:
    assert model_names()[0] == DEFAULT_MODEL and len(set(model_names())) == len(model_names())


@pytest.mark.parametrize("name", model_names())
def test_an_installed_model_runs_at_its_size_and_its_card_tells_its_figures(name: str) -> None:
    spec = load_model(name).spec
    assert spec.name == name and spec.policy == "learned" and "learned" in spec.thresholds
    width, height = spec.size
    with Segmenter(name, device="cpu") as segmenter:
        result = segmenter(np.full((height, width, 3), 90, np.uint8))
    assert result.labels.shape == (height, width)
    assert result.blocks.shape == (-(-height // spec.block), -(-width // spec.block))
    card = (WEIGHTS / f"{name}.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {name}\n") and f"{width}x{height}" in card and "research use" in card
    assert f"{spec.results['camvid_learned_miou']:.3f}" in card
