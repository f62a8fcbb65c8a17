"""A published model is a file that loads, with a card that tells its figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from segstream.models import load_model
from segstream.training.publish import main


def test_writes_weights_and_card(tmp_path: Path) -> None:
    for name in ("val", "valannot"):
        (tmp_path / name).mkdir()
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "val/0.png")
    Image.fromarray((image[..., 0] // 25).astype(np.uint8)).save(tmp_path / "valannot/0.png")
    options = ["--data", str(tmp_path), "--device", "cpu", "--limit", "1", "--name", "mine", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, ["untrained-rn18", "--policy-from", "untrained-rn18", *options])
    assert done.exit_code == 0, done.output
    model = load_model(tmp_path / "mine.safetensors")
    assert model.spec.name == "mine" and model.spec.policy == "learned" and model.policy_net is not None
    card = (tmp_path / "mine.md").read_text()
    assert card.startswith("# mine") and "research" in card and f"{model.spec.results['camvid_high_miou']:.3f}" in card
    assert (tmp_path / "mine.safetensors").stat().st_size < 26e6
