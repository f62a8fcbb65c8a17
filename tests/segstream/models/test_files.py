"""Model files: what is written is read again, and what cannot be used is refused in one sentence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from segstream.blocks import Grid
from segstream.errors import ModelError, OutputError
from segstream.models import Model, PolicyNet, load_model, read_model, save_model
from segstream.models.checkpoints import import_authors, read_checkpoint
from segstream.models.registry import untrained_model
from segstream.models.spec import ModelSpec, spec_from_json


@pytest.fixture(scope="module")
def model() -> Model:
    return untrained_model()


def test_what_is_written_is_read_again(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(model, path, torch.float32)
    again = load_model(path)
    assert again.spec == model.spec
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again.network(x), model.network(x))
        assert again.policy_net is not None and model.policy_net is not None
        assert torch.equal(again.policy_net(x, 64), model.policy_net(x, 64))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("settings", [{"subpixel": True}, {"shallow": (4, 2)}, {"subpixel": True, "shallow": (3,)}])
def test_what_low_blocks_do_otherwise_is_written_and_read_again(settings: dict[str, Any], tmp_path: Path) -> None:
    model = untrained_model(**settings)
    save_model(model, tmp_path / "model.safetensors", torch.float32)
    again = load_model(tmp_path / "model.safetensors")
    grid = Grid(torch.tensor([[[True, False]]]), 64)
    x = torch.randn(1, 3, 64, 128)
    with torch.no_grad():
        assert torch.equal(again.network(x, grid), model.network(x, grid))
        plain = untrained_model().network
        plain.load_state_dict(model.network.state_dict(), strict=False)
        assert not torch.equal(plain(x, grid), model.network(x, grid))


def test_a_file_of_stages_that_cannot_be_shallow_is_refused(tmp_path: Path) -> None:
    model = untrained_model()
    model.spec = dataclasses.replace(model.spec, shallow=(7,))
    save_model(model, tmp_path / "model.safetensors", torch.float32)
    with pytest.raises(
        ModelError, match=r"does not know: shallow stages of resnet18 must be of \[1, 2, 3, 4\], not \[7\]"
    ):
        load_model(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"the shallow stages \('four',\); expected numbers of stages"):
        dataclasses.replace(model.spec, shallow=("four",))  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "context", "detail"), [(64, 2, None), (16, 0, 1.5), (16, 1, 0.25)])
def test_a_policy_network_of_another_shape_is_read_again(
    width: int, context: int, detail: float | None, tmp_path: Path
) -> None:
    model = untrained_model()
    model.policy_net = PolicyNet(width, context, detail).eval()
    save_model(model, tmp_path / "model.safetensors", torch.float32)
    again = load_model(tmp_path / "model.safetensors").policy_net
    x = torch.randn(1, 3, 128, 192)
    with torch.no_grad():
        assert again is not None and torch.equal(again(x, 64), model.policy_net(x, 64))
        assert again.detail_weight == detail


def test_a_policy_network_of_a_damaged_file_is_refused_and_not_made(tmp_path: Path) -> None:
    spec = untrained_model().spec
    tensors = {f"network.{k}": v for k, v in untrained_model().network.state_dict().items()}
    tensors["policy.layers.150000.weight"] = torch.zeros(1)
    path = tmp_path / "damaged.safetensors"
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata={"segstream": spec.to_json()})
    with pytest.raises(ModelError, match="weights of another network"):
        read_model(path)


def test_half_precision_files_are_half_the_size(model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path / "half.safetensors")
    assert (tmp_path / "half.safetensors").stat().st_size < 26e6


def test_a_failed_write_keeps_the_old_file(model: Model, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder that exists"):
        save_model(model, tmp_path / "nowhere" / "model.safetensors")
    target = tmp_path / "taken.safetensors"
    target.mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(OutputError):
        save_model(model, target)
    assert target.is_dir() and list(tmp_path.iterdir()) == [target]


def refusals(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    bare = tmp_path / "bare.safetensors"
    save_file({"a": torch.zeros(1)}, bare)
    spec = untrained_model().spec
    other = tmp_path / "other.safetensors"
    save_file({"network.a": torch.zeros(1)}, other, metadata={"segstream": spec.to_json()})
    nonsense = tmp_path / "nonsense.safetensors"
    save_file({"a": torch.zeros(1)}, nonsense, metadata={"segstream": "{}"})
    return {
        "missing": (tmp_path / "missing.safetensors", "no model file"),
        "text": (text, "not a readable safetensors file"),
        "empty": (empty, "not a readable safetensors file"),
        "bare": (bare, "models import"),
        "other": (other, "weights of another network"),
        "nonsense": (nonsense, "does not describe a segstream model"),
    }


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "bare", "other", "nonsense"])
def test_unusable_files_are_refused(kind: str, tmp_path: Path) -> None:
    path, sentence = refusals(tmp_path)[kind]
    with pytest.raises(ModelError, match=sentence):
        read_model(path)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"no model 'nonsense'"):
        load_model("nonsense")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"palette": [[0, 0, 0]]}, "one colour a class"),
        ({"block": 100}, "one of 64, 128, 256"),
        ({"size": [100000, 100000]}, "an input size"),
        ({"interpolation": "cubic"}, "seamless"),
        ({"std": [0, 1, 1]}, "deviations above 0"),
        ({"mean": "abc"}, "normalisation that is not of numbers"),
        ({"block": 64.0}, "whole numbers of pixels"),
        ({"thresholds": ["learned"]}, "a number for each policy"),
        ({"thresholds": {"learned": "high"}}, "a number for each policy"),
        ({"encoder": ["resnet18"]}, "texts as name and encoder"),
        ({"classes": []}, "class names"),
    ],
)
def test_impossible_facts_are_refused(change: dict[str, object], sentence: str) -> None:
    values = dataclasses.asdict(untrained_model().spec) | change
    with pytest.raises(ModelError, match=sentence):
        spec_from_json(json.dumps(values), "a file")


def test_checkpoints_run_no_code(tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('code ran')",))

    trap = tmp_path / "trap.pth"
    trap.write_bytes(pickle.dumps({"state_dict": Trap()}, protocol=2))
    with pytest.raises(ModelError):
        read_checkpoint(trap)
    torch.save({"state_dict": {"module.a": torch.ones(2)}, "epoch": 3}, tmp_path / "good.pth")
    assert list(read_checkpoint(tmp_path / "good.pth")) == ["a"]
    with pytest.raises(ModelError, match="another network"):
        import_authors(tmp_path / "good.pth", untrained_model().spec)


def test_spec_survives_json() -> None:
    spec: ModelSpec = untrained_model().spec
    assert spec_from_json(spec.to_json(), "a file") == spec


def test_what_half_precision_cannot_hold_is_kept_whole(tmp_path: Path) -> None:
    model = untrained_model()
    large = torch.full_like(model.network.encoder.bn1.running_var, 133_588.0)  # type: ignore[union-attr]
    model.network.encoder.bn1.running_var.copy_(large)  # type: ignore[union-attr]
    save_model(model, tmp_path / "model.safetensors")
    assert torch.equal(read_model(tmp_path / "model.safetensors").network.encoder.bn1.running_var, large)  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize("shape", [(), (3,), (30_000, 1, 1, 1)])
def test_a_policy_network_of_no_possible_shape_is_refused(model: Model, tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in model.network.state_dict().items()}
    tensors["policy.layers.0.weight"] = torch.zeros(shape)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, tmp_path / "model.safetensors", {"segstream": model.spec.to_json()})
    with pytest.raises(ModelError, match="policy network that this version does not know"):
        read_model(tmp_path / "model.safetensors")
