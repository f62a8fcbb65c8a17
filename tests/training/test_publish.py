"""A published model is a file that loads, with a card that tells its figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from segstream.blocks import Grid
from segstream.errors import UsageError
from segstream.evaluate import EvalReport, evaluate
from segstream.geometry import fit, to_input
from segstream.models import load_model
from segstream.models.registry import untrained_model
from segstream.policies import score
from segstream.training.losses import class_prior, class_shares
from segstream.training.publish import best_options, enlarged, main, move_logits, move_scores, weigh_detail


def write_data(folder: Path) -> np.ndarray:
    """Write a CamVid of one image for each part, and return the image, uint8 [120, 160, 3]; its red tells the class."""
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    image[:100, :, 0] = 0  # the first class is frequent
    for part in ("train", "val"):
        for name, pixels in ((part, image), (f"{part}annot", (image[..., 0] // 25).astype(np.uint8))):
            (folder / name).mkdir()
            Image.fromarray(pixels).save(folder / name / "0.png")
    return image


@torch.no_grad()
def test_a_prior_moves_the_logits_of_low_blocks_too(tmp_path: Path) -> None:
    write_data(tmp_path)
    model, before = untrained_model(subpixel=True), untrained_model(subpixel=True)
    move_logits(model, str(tmp_path), 0.5)
    x, grid = torch.zeros(1, 3, 64, 128), Grid(torch.tensor([[[True, False]]]), 64)
    moved = model.network(x, grid) - before.network(x, grid)  # [1, K, 16, 32]
    torch.testing.assert_close(moved, moved[:, :, :1, :1].expand_as(moved), atol=1e-4, rtol=0)
    assert moved[0, 0, 0, 0] > 1


def test_a_share_moves_the_scores_of_the_learned_policy(tmp_path: Path) -> None:
    write_data(tmp_path)
    model = untrained_model()
    shares = []
    for share in (0.5, 1 / 6):  # of the blocks of the one image, which is enlarged to what the model takes
        move_scores(model, str(tmp_path), share)
        found = evaluate(model, "camvid", str(tmp_path), "train", "learned", 0.5, device="cpu")
        shares.append(found.high_share)
    assert shares == pytest.approx([0.5, 1 / 6], abs=1e-6)
    model.policy_net = None
    with pytest.raises(UsageError, match="no learned policy"):
        move_scores(model, str(tmp_path), 0.5)


def test_detail_is_weighed_in_a_policy_whose_scores_are_set_anew(tmp_path: Path) -> None:
    image = write_data(tmp_path)
    model, plain = untrained_model(), untrained_model()
    weigh_detail(model, 2.0, 0.5)
    assert model.policy_net is not None and plain.policy_net is not None
    x = to_input(image, fit((120, 160), model.spec.size, 64), model.spec.mean, model.spec.std)
    with torch.no_grad():
        added = model.policy_net(x, 64) - plain.policy_net(x, 64)  # [1, GH, GW]
        torch.testing.assert_close(added, 2 * score("heuristic", x, 64).clamp(min=1e-4).log())
    weigh_detail(model, 0.0, 0.5)
    assert model.policy_net.detail_weight is None and "detail" not in model.policy_net.state_dict()
    options = ["--data", str(tmp_path), "--device", "cpu", "--limit", "1", "--out", str(tmp_path)]
    alone = CliRunner().invoke(main, ["untrained-rn18", "--detail", "2", *options])
    assert isinstance(alone.exception, UsageError) and "give --policy-from MODEL and --share" in str(alone.exception)


def test_writes_weights_and_card(tmp_path: Path) -> None:
    image = write_data(tmp_path)
    options = ["--data", str(tmp_path), "--device", "cpu", "--limit", "1", "--name", "mine", "--out", str(tmp_path)]
    options += ["--prior", "0.5", "--share", "0.5", "--detail", "2", "--shallow", "4", "--shallow", "2"]
    done = CliRunner().invoke(main, ["untrained-rn18", "--policy-from", "untrained-rn18", *options])
    assert done.exit_code == 0, done.output
    model = load_model(tmp_path / "mine.safetensors")
    assert model.spec.name == "mine" and model.spec.policy == "learned" and model.policy_net is not None
    assert model.network.shallow == (2, 4) and model.policy_net.detail_weight == 2
    card = (tmp_path / "mine.md").read_text()
    assert "where the stage is 2 and 4 (`shallow`)" in card
    assert card.startswith("# mine") and "research" in card and f"{model.spec.results['camvid_high_miou']:.3f}" in card
    assert (tmp_path / "mine.safetensors").stat().st_size < 26e6
    moved = model.network.logits.conv.bias - load_model("untrained-rn18").network.logits.conv.bias  # type: ignore[operator]
    labels = torch.from_numpy(image[..., 0] // 25)
    torch.testing.assert_close(moved.detach(), class_prior(class_shares(labels, 11), 0.5), atol=2e-3, rtol=1e-2)
    assert moved[0] > 1 and moved[0] == moved.max()
    assert model.spec.training["prior"] == 0.5
    found = evaluate(model, "camvid", str(tmp_path), "train", device="cpu")
    assert found.high_share == 0.5  # by the threshold in the file
    wrong = CliRunner().invoke(main, ["untrained-rn18", "--shallow", "5", *options[:8]])
    assert isinstance(wrong.exception, UsageError) and "of [1, 2, 3, 4], not [5]" in str(wrong.exception)
    again = CliRunner().invoke(main, [str(tmp_path / "mine.safetensors"), *options])  # a second one is not added
    assert isinstance(again.exception, UsageError) and "has the prior 0.5 already" in str(again.exception)


def test_the_card_tells_the_size_and_the_best_options() -> None:
    def row(policy: str, miou: float, dataset: str = "camvid", budget: float = 1.0) -> tuple[str, EvalReport]:
        facts = {"model": "mine", "split": "val", "iou": {}, "pixel_accuracy": 0.9, "gmacs": 1.0, "dense_gmacs": 2.0}
        found = EvalReport(
            **facts, images=1, high_share=0.5, block=64, dataset=dataset, policy=policy, miou=miou, budget=budget
        )
        return "a row", found

    assert "scaled to 768x576" in enlarged((768, 576)) and enlarged((480, 360)) == ""
    rows = [row("high", 0.7), row("demo", 0.9, "demo"), row("learned", 0.6)]
    assert best_options(rows, "learned") == "`--policy high`"
    rows.append(row("learned", 0.75))
    assert best_options(rows, "learned") == "as it is, without options"
    rows.append(row("learned", 0.8, budget=0.25))
    assert best_options(rows, "learned") == "`--threshold 0 --budget 0.25`"
    assert best_options(rows, "heuristic") == "`--policy learned --threshold 0 --budget 0.25`"
