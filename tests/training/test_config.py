"""Settings: read from YAML and the command line, and refused where they make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from segstream.errors import UsageError
from segstream.models import DEFAULT_MODEL
from segstream.training.config import TrainConfig, from_dict, load_config
from segstream.training.train import parse_settings


def test_settings_of_the_command_line_win(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\ninit: runs/other.safetensors\nresize: [64, 32]\nlr: 1.0e-3\n")
    overrides = parse_settings(("init=null", "resize=null", "lr=3e-4", "scale=[5e-1, 2]"))
    found = load_config(path, overrides)
    assert (found.init, found.resize, found.lr, found.scale) == (None, None, 3e-4, (0.5, 2.0))
    with pytest.raises(UsageError, match="there is no setting 'path'"):
        load_config(path, {"path": "x"})
    for wrong in ({"epochs": float("inf")}, {"lr": "nan"}, {"lr": "fast"}):
        with pytest.raises(UsageError, match=f"the setting {next(iter(wrong))} cannot be .* expected a number"):
            load_config(path, wrong)


def test_the_configurations_of_the_project_are_whole() -> None:
    files = sorted((Path(__file__).resolve().parents[2] / "training" / "configs").glob("*.yaml"))
    given = {"camvid-policy": {"init": DEFAULT_MODEL}}  # what README gives it on the command line
    found = {file.stem: load_config(file, given.get(file.stem)) for file in files}
    assert "camvid-reinforce" in found and all(config.name == name for name, config in found.items())
    for config in found.values():
        if config.taught_by is not None:  # the two are compared: all that makes images must be alike
            leader = found[config.taught_by]
            for key in ("epochs", "batch", "input_size", "crop", "scale", "aspect", "scenes", "pasted"):
                assert getattr(config, key) == getattr(leader, key), f"{config.name}: {key}"


@pytest.mark.parametrize("name", ["camvid/rn18", "", "..", "/tmp/x"])
def test_a_name_is_one_folder(name: str) -> None:
    with pytest.raises(UsageError, match="the setting name cannot be"):
        TrainConfig(name=name)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(UsageError, match="epoch"):
        from_dict({"epoch": 3}, "x.yaml")
    with pytest.raises(UsageError, match="batch"):
        from_dict({"batch": "many"}, "x.yaml")
    with pytest.raises(UsageError, match="crop"):
        from_dict({"crop": [100, 64]}, "x.yaml")
    with pytest.raises(UsageError, match=r"warmup cannot be 0: expected at least 1"):
        from_dict({"warmup": 0}, "x.yaml")
    assert from_dict({"warmup": 1, "class_weights": 1, "prior": 1}, "x.yaml").prior == 1.0
    for setting, kind in (("prior", "a number"), ("warmup", "a whole number")):
        with pytest.raises(UsageError, match=f"{setting} cannot be True: expected {kind}"):
            from_dict({setting: True}, "x.yaml")
    for wrong in ({"encoder": "foo"}, {"lr": -1}, {"batch": 2.5}, {"name": 5}, {"resize": 5}, {"teachers": [1]}):
        with pytest.raises(UsageError, match=f"the setting {next(iter(wrong))} cannot be"):
            from_dict(wrong, "x.yaml")
    with pytest.raises(UsageError, match=r"class_weights cannot be -0\.5: expected 0 or more"):
        from_dict({"class_weights": -0.5}, "x.yaml")
    with pytest.raises(
        UsageError, match=r"policy_loss cannot be 'regression': expected reinforce: only the reward borders"
    ):
        from_dict({"policy_loss": "regression"}, "x.yaml")
    borders = {"policy_loss": "regression", "reward": "borders", "mode": "reinforce"}
    assert from_dict({**borders, "whole": 0.5}, "x.yaml").whole == 0.5
    with pytest.raises(UsageError, match=r"whole cannot be 0\.5: expected 0 where policy_loss is reinforce"):
        from_dict({"mode": "reinforce", "whole": 0.5}, "x.yaml")
    with pytest.raises(UsageError, match=r"whole cannot be 1\.5: expected a share from 0 to 1"):
        from_dict({**borders, "whole": 1.5}, "x.yaml")
    with pytest.raises(UsageError, match=r"shuffled cannot be 0\.5: expected 0 where policy_loss is reinforce"):
        from_dict({"mode": "reinforce", "shuffled": 0.5}, "x.yaml")
    with pytest.raises(UsageError, match=r"shuffled cannot be 0\.7: expected at most what the setting whole leaves"):
        from_dict({**borders, "whole": 0.5, "shuffled": 0.7}, "x.yaml")
    with pytest.raises(UsageError, match=r"pasted cannot be 7\.0: expected a number from 0 to 6"):
        from_dict({"pasted": 7}, "x.yaml")
    with pytest.raises(UsageError, match="subpixel cannot be True: expected false: dense has no low blocks"):
        from_dict({"mode": "dense", "subpixel": True}, "x.yaml")
    with pytest.raises(UsageError, match=r"shallow cannot be \(4,\): expected none: dense has no low blocks"):
        from_dict({"mode": "dense", "shallow": [4]}, "x.yaml")
    with pytest.raises(UsageError, match=r"shallow cannot be \(0, 4\): expected stages of 1, 2, 3, 4"):
        from_dict({"shallow": [0, 4]}, "x.yaml")
    with pytest.raises(UsageError, match=r"shallow cannot be \(4,\): expected none: efficientnet-lite1 has no"):
        from_dict({"shallow": [4], "encoder": "efficientnet-lite1"}, "x.yaml")
    with pytest.raises(UsageError, match="subpixel cannot be 1: expected true or false"):
        from_dict({**borders, "subpixel": 1}, "x.yaml")
    alone = {**borders, "mode": "policy", "distill": 0.0}
    with pytest.raises(UsageError, match="init cannot be None: expected the model to train a policy for"):
        from_dict(alone, "x.yaml")
    alone["init"] = "a.safetensors"
    wrong = {
        "policy_loss": "reinforce",
        "distill": 0.5,
        "context": 99,
        "subpixel": True,
        "shallow": [4],
        "encoder_weights": "a.pth",
    }
    for key, value in wrong.items():
        with pytest.raises(UsageError, match=f"{key} cannot be"):
            from_dict({**alone, key: value}, "x.yaml")
    with pytest.raises(UsageError, match="context cannot be 2: expected 0: only the modes reinforce and policy"):
        from_dict({"mode": "mixed", "context": 2}, "x.yaml")
    with pytest.raises(UsageError, match=r"detail cannot be 0\.5: expected 0: only the modes reinforce and policy"):
        from_dict({"mode": "dense", "detail": 0.5}, "x.yaml")
    assert from_dict({**alone, "context": 2}, "x.yaml").mode == "policy"
    assert from_dict({"mode": "dense", "whole": 0.5}, "x.yaml").mode == "dense"


def test_a_size_of_the_networks_input_is_of_whole_logits() -> None:
    assert from_dict({"input_size": [640, 480]}, "x.yaml").input_size == (640, 480)
    for wrong in ([642, 480], [640, 28]):
        with pytest.raises(
            UsageError, match=r"input_size cannot be .*: expected width and height of 32 or more pixels"
        ):
            from_dict({"input_size": wrong}, "x.yaml")
    with pytest.raises(UsageError, match="input_size cannot be 640: expected a list of"):
        from_dict({"input_size": 640}, "x.yaml")


def test_a_teacher_beside_needs_something_to_teach() -> None:
    # Every image is taught, however few the averaged network judges.
    assert from_dict({"mode": "reinforce", "taught_by": "a", "judged": 0.25}, "x.yaml").distill == 0.5
    with pytest.raises(UsageError, match="taught_by cannot be 'a': expected null where distill is 0"):
        from_dict({"taught_by": "a", "distill": 0}, "x.yaml")
    with pytest.raises(UsageError, match="taught_by cannot be 'a': expected null beside teachers"):
        from_dict({"taught_by": "a", "teachers": ["b.safetensors"]}, "x.yaml")


@pytest.mark.parametrize("prior", [-0.1, 0.6])
def test_a_prior_takes_back_no_more_than_the_weights_took(prior: float) -> None:
    with pytest.raises(UsageError, match=r"prior cannot be .*: expected from 0 to the setting class_weights, 0\.5"):
        from_dict({"prior": prior}, "x.yaml")
