"""The smaller commands, and help that does not lie."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import torch

from segstream.cli.console import hide_credentials
from segstream.cli.main import _COMMANDS, cli, load_command, option_names
from segstream.datasets import DATASETS
from segstream.models import load_model
from segstream.models.registry import untrained_model

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["", *_COMMANDS, "models import"])
def test_help(segstream: Callable, name: str) -> None:
    done = segstream(*name.split(), "--help")
    assert done.code == 0
    assert "Usage: segstream" in done.out


def parse(line: str) -> None:
    """Parse a command line as the program would, without running it."""
    words = shlex.split(line)
    context = cli.make_context("segstream", words)
    sub = context.command.get_command(context, words[0])  # type: ignore[attr-defined]
    assert sub is not None
    sub.make_context(words[0], words[1:], parent=context)


@pytest.mark.parametrize("name", list(_COMMANDS))
def test_examples_in_the_help_texts_parse(name: str) -> None:
    """Every option that an example uses exists, with a value that it takes."""
    lines = re.findall(r"^  segstream (.+?)(?: +#.*)?$", load_command(name).epilog or "", re.MULTILINE)
    assert lines or name in ("models", "cameras", "doctor")
    for line in lines:
        parse(line)


def test_commands_in_the_readme_parse() -> None:
    lines = re.findall(r"^(?:.*&& )?segstream (.+?)(?: +#.*)?$", (ROOT / "README.md").read_text(), re.MULTILINE)
    lines = [line for line in lines if line.split()[0] in _COMMANDS]
    assert len(lines) > 12
    for line in lines:
        parse(line)


def test_version_and_no_arguments(segstream: Callable) -> None:
    assert re.fullmatch(r"segstream \d+\.\d+\.\d+\n", segstream("--version").out)
    done = segstream()
    assert done.code == 2 and "Commands" in done.err


def test_help_is_quick_because_nothing_heavy_is_imported(start: Callable) -> None:
    import subprocess

    script = "import sys; from segstream.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for heavy in ("torch", "av", "PyQt6", "cv2"):
        assert f"'{heavy}'" not in done.stdout


def test_names_of_interface_exist() -> None:
    """What the documentation promises."""
    wanted = (
        "source model policy threshold budget target_fps device size block view alpha grid palette live open_timeout "
        "read_timeout reconnect rtsp_transport cam_size cam_fps hwaccel loop start end max_frames headless output "
        "codec crf audio overwrite save_masks save_jsonl progress json segment dataset data split"
    )
    assert set(wanted.split()) <= option_names()


def test_doctor_tells_what_is_there_and_the_fix_for_what_is_not(segstream: Callable) -> None:
    done = segstream("doctor")
    assert done.code in (0, 1)
    for name in ("torch", "CUDA", "PyCUDA", "nvcc", "NVRTC", "PyAV", "codec H.264", "Qt window", "model"):
        assert name in done.out
    assert torch.__version__ in done.out
    for line in done.out.splitlines():
        assert not line.startswith("broken") or "models" in line


def test_cameras(segstream: Callable) -> None:
    done = segstream("cameras")
    assert done.code == 0 and "camera" in done.out


def test_models_lists_names_classes_results_and_files(segstream: Callable) -> None:
    done = segstream("models")
    assert done.code == 0
    if "no model is installed" not in done.out:
        for word in ("classes", "GMAC", "licence", "file"):
            assert word in done.out
        assert ".safetensors" in "".join(done.out.split())  # a long path is folded into lines


def as_theirs(name: str) -> str:
    """Our names as the authors write them."""
    for pattern, theirs in (
        (r"^network\.encoder\.", "net.backbone."),
        (r"^network\.spp\.spp\.(\d+)\.", r"net.spp.spp.spp\1."),
        (r"^network\.spp\.", "net.spp.spp."),
        (r"^network\.", "net."),
        (r"^policy\.", "policy.policy_net."),
    ):
        name, count = re.subn(pattern, theirs, name)
        if count:
            break
    return name


def test_models_import_takes_the_authors_files(segstream: Callable, tmp_path: Path) -> None:
    model = untrained_model()
    assert model.policy_net is not None
    state = {f"network.{k}": v for k, v in model.network.state_dict().items()}
    state |= {f"policy.{k}": v for k, v in model.policy_net.state_dict().items()}
    checkpoint, out = tmp_path / "theirs.pth", tmp_path / "mine.safetensors"
    torch.save({"state_dict": {as_theirs(k): v for k, v in state.items()}}, checkpoint)
    done = segstream("models", "import", checkpoint, "-o", out, "--encoder", "resnet18")
    assert done.code == 0, done
    assert "11 classes, with a learned policy" in done.out
    loaded = load_model(out)
    assert loaded.spec.interpolation == "local" and loaded.spec.block == 128 and loaded.spec.policy == "learned"
    assert loaded.spec.classes[3] == "Road"
    for name, tensor in model.network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.allclose(loaded.network.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)
    again = segstream("models", "import", checkpoint, "-o", out, "--encoder", "resnet18")
    assert again.code == 4 and "--overwrite" in again.err
    wrong = segstream("models", "import", checkpoint, "-o", tmp_path / "b.safetensors", "--encoder", "resnet50")
    assert wrong.code == 2 and "another network" in wrong.err and not (tmp_path / "b.safetensors").exists()


def test_models_import_runs_no_code(segstream: Callable, tmp_path: Path) -> None:
    import os

    class Attack:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "owned"),)

    checkpoint = tmp_path / "evil.pth"
    torch.save({"state_dict": Attack()}, checkpoint)
    done = segstream("models", "import", checkpoint, "-o", tmp_path / "a.safetensors", "--encoder", "resnet18")
    assert done.code == 2, done
    assert not (tmp_path / "owned").exists()


def test_eval_takes_every_data_set() -> None:
    (option,) = (one for one in load_command("eval").params if one.name == "dataset")
    assert isinstance(option.type, click.Choice) and list(option.type.choices) == list(DATASETS)


def test_eval_on_the_drawn_street(segstream: Callable, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = segstream(
        "eval", "--dataset", "demo", "-m", "untrained-rn18", "--size", "96x64", "--limit", "2", "--policy", "high",
        "--json", report,
    )  # fmt: skip
    assert done.code == 0, done
    content = json.loads(report.read_text())
    assert {"model", "dataset", "split", "images", "policy", "miou", "iou", "pixel_accuracy", "gmacs", "dense_gmacs",
            "high_share"} <= content.keys()  # fmt: skip
    assert content["images"] == 2 and 0 <= content["miou"] <= 1 and content["high_share"] == 1.0
    assert "mean" in done.out and "pixel accuracy" in done.out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:pass@host/x", "rtsp://host/x"),
        ("cannot open http://tok@en:p@host:80/a and rtsp://a:b@c", "cannot open http://host:80/a and rtsp://c"),
        ("no url, a@b", "no url, a@b"),
        ("rtsp://host/a@b", "rtsp://host/a@b"),
    ],
)
def test_credentials_are_hidden(text: str, shown: str) -> None:
    assert hide_credentials(text) == shown


def test_a_failure_of_our_own_is_one_sentence_and_exit_code_1(
    segstream: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command("doctor")
    def broken() -> None:
        raise ZeroDivisionError("rtsp://user:pass@host went wrong")

    monkeypatch.setattr("segstream.cli.main.load_command", lambda name: broken)
    done = segstream("doctor")
    assert done.code == 1
    assert done.err.startswith("error: internal error (ZeroDivisionError") and "-v" in done.err
    assert "Traceback" not in done.err and "pass" not in done.err
