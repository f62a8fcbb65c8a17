"""Every mistake is answered by one sentence and the right exit code, and harms nothing that was there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from segstream.models import load_model, save_model

UNTRAINED = ("-m", "untrained-rn18")


def sound_only(path: Path) -> None:
    """A video file without video: half a second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for k in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, 1024 * k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_source(kind: str, folder: Path) -> str:
    """A source that cannot be segmented."""
    path = folder / "input.mp4"
    if kind == "folder":
        (folder / "empty").mkdir()
        return str(folder / "empty")
    if kind == "glob":
        return str(folder / "*.png")
    if kind == "text":
        path.write_text("This is no video at all.\n" * 100)
    elif kind == "empty":
        path.touch()
    elif kind == "no frames":
        sound_only(path)
    elif kind == "image":
        path = folder / "broken.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
    elif kind == "camera":
        return "/dev/video97"
    elif kind == "url":
        return "rtsp://user:secret@127.0.0.1:9/stream"
    return str(path)


def one_sentence(err: str) -> str:
    """The one line on stderr that starts with `error:`; nothing else may look like a crash."""
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, err
    assert "Traceback" not in err and 'File "' not in err
    sentence = lines[0].removeprefix("error:").strip()
    assert 20 < len(sentence) < 350, sentence  # names of files may be long
    return sentence


@pytest.mark.parametrize("command", ["record", "run"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "does not exist"),
        ("folder", "without images"),
        ("glob", "nothing matches"),
        ("text", "input.mp4"),
        ("empty", "input.mp4"),
        ("no frames", "input.mp4"),
        ("image", "broken.png"),
        ("camera", "video97"),
        ("url", "127.0.0.1"),
    ],
)
def test_sources_that_cannot_be_read(segstream: Callable, tmp_path: Path, command: str, kind: str, words: str) -> None:
    out = tmp_path / "out.mp4"
    where = ["-o", out] if command == "record" else ["--headless"]
    source = make_source(kind, tmp_path)
    done = segstream(command, "-s", source, *where, *UNTRAINED, "--open-timeout", "2", "--reconnect", "off")
    assert done.code == 3, done
    sentence = one_sentence(done.err)
    assert words in sentence
    assert "secret" not in done.err + done.out
    assert not out.exists()


def weights(kind: str, folder: Path) -> str:
    """A model that cannot be used."""
    path = folder / "model.safetensors"
    if kind == "unknown name":
        return "swiftnet-of-nowhere"
    if kind == "text":
        path.write_text("no weights")
    elif kind == "empty":
        path.touch()
    elif kind == "other weights":
        save_file({"weight": torch.zeros(3)}, path)
    elif kind == "cut off":
        save_model(load_model("untrained-rn18"), path)
        os.truncate(path, path.stat().st_size // 2)
    elif kind == "other network":
        model = load_model("untrained-rn18")
        other = {f"network.{k}": v for k, v in model.network.state_dict().items() if "logits" not in k}
        save_file(other, path, metadata={"segstream": model.spec.to_json()})
    return str(path)


@pytest.mark.parametrize(
    "kind", ["missing", "unknown name", "text", "empty", "cut off", "other weights", "other network"]
)
def test_models_that_cannot_be_used(segstream: Callable, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out.mp4"
    done = segstream("record", "-s", "demo", "-o", out, "-m", weights(kind, tmp_path))
    assert done.code == 2, done
    one_sentence(done.err)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--policy", "clever"], "learned, heuristic, random, high, low"),
        (["--threshold", "2"], "from 0 to 1"),
        (["--budget", "-0.1"], "from 0 to 1"),
        (["--budget", "nan"], "from 0 to 1"),
        (["--alpha", "x"], "from 0 to 1"),
        (["--size", "huge"], "1024x512"),
        (["--size", "4x4"], "16"),
        (["--block", "100"], "64"),
        (["--device", "tpu"], "auto, cpu, cuda"),
        (["--device", "cuda:77"], "cuda:77"),
        (["--palette", "rainbow"], "camvid, cityscapes, safe"),
        (["--view", "upside-down"], "overlay"),
        (["--reconnect", "sometimes"], "inf or off"),
        (["--start", "9", "--end", "3"], "after start"),
        (["--codec", "mpeg9"], "h264"),
        (["--max-frames", "0"], "from 1"),
        (["--config", "/nowhere/settings.yaml"], "cannot be read"),
        (["--polcy", "high"], "--policy"),
        (["-s", "gopher://hole"], "gopher"),
    ],
)
def test_options_that_mean_nothing(segstream: Callable, tmp_path: Path, options: list[str], words: str) -> None:
    out = tmp_path / "out.mp4"
    source = [] if "-s" in options else ["-s", "demo"]
    done = segstream("record", *source, "-o", out, *UNTRAINED, "--max-frames", "2", *options)
    assert done.code == 2, done
    assert words in one_sentence(done.err)
    assert not out.exists()


@pytest.mark.parametrize("line", ["loop: 2", "grid: 0.5", "max-frames: 2026-11-29", "crf: [1, 2]", "policy: {a: 1}"])
def test_settings_of_a_file_that_mean_nothing(segstream: Callable, tmp_path: Path, line: str) -> None:
    (tmp_path / "odd.yaml").write_text(line)
    done = segstream("record", "-s", "demo", "-o", tmp_path / "out.mp4", "--config", tmp_path / "odd.yaml", *UNTRAINED)
    assert done.code == 2, done
    one_sentence(done.err)


@pytest.mark.parametrize("device", ["gpu", "cuda:77"])
@pytest.mark.parametrize(
    "command",
    [["run", "-s", "demo:64x64", "--headless"], ["eval", "--dataset", "demo", "--limit", "1"], ["bench"]],
    ids=lambda command: command[0],
)
def test_devices_that_are_not_there(segstream: Callable, command: list[str], device: str) -> None:
    done = segstream(*command, *UNTRAINED, "--device", device)
    assert done.code == 2, done
    assert f"device '{device}'" in one_sentence(done.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["record", "-o", "out.mp4"],
        ["record", "-s", "demo"],
        ["run", "--headless"],
        ["eval"],
        ["eval", "--dataset", "imagenet"],
        ["eval", "--dataset", "demo", "--split", "nowhere", *UNTRAINED],
        ["eval", "--dataset", "demo", "--video", "--policy", "random", *UNTRAINED],
        ["bench", "--shares", "1,2"],
        ["models", "import", "a.pth"],
        ["models", "import", "a.pth", "-o", "out.pth", "--encoder", "resnet18"],
        ["models", "export"],
        ["recrod"],
    ],
    ids=" ".join,
)
def test_commands_that_lack_something(segstream: Callable, arguments: list[str]) -> None:
    done = segstream(*arguments)
    assert done.code == 2, done
    one_sentence(done.err)


OUTPUTS = {"-o": "out.mp4", "--save-jsonl": "out.jsonl", "--save-masks": "masks"}


@pytest.mark.parametrize("option", OUTPUTS)
def test_output_in_a_folder_that_does_not_exist(segstream: Callable, tmp_path: Path, option: str) -> None:
    done = segstream("record", "-s", "demo", option, tmp_path / "nowhere" / OUTPUTS[option], *UNTRAINED)
    assert done.code == 4, done
    assert "nowhere" in one_sentence(done.err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["-o", "--save-jsonl"])
def test_output_that_exists_is_kept(segstream: Callable, tmp_path: Path, option: str) -> None:
    target = tmp_path / OUTPUTS[option]
    target.write_bytes(b"precious")
    done = segstream("record", "-s", "demo", option, target, *UNTRAINED)
    assert done.code == 4, done
    assert "--overwrite" in one_sentence(done.err)
    assert target.read_bytes() == b"precious"
    assert [entry.name for entry in tmp_path.iterdir()] == [target.name]


def test_masks_that_exist_are_kept(segstream: Callable, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    segstream("record", "-s", "demo:64x64", "--save-masks", masks, *UNTRAINED, "--max-frames", "1")
    before = {path.name: path.read_bytes() for path in masks.iterdir()}
    assert before
    done = segstream("record", "-s", "demo:96x64", "--save-masks", masks, *UNTRAINED, "--max-frames", "1")
    assert done.code == 4, done
    one_sentence(done.err)
    assert {path.name: path.read_bytes() for path in masks.iterdir()} == before


def test_failure_with_overwrite_keeps_the_old_output(segstream: Callable, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    source = make_source("text", tmp_path)
    done = segstream("record", "-s", source, "-o", target, "--overwrite", *UNTRAINED)
    assert done.code == 3, done
    assert target.read_bytes() == b"precious"


def test_second_output_that_exists_leaves_nothing_of_the_first(segstream: Callable, tmp_path: Path) -> None:
    lines = tmp_path / "out.jsonl"
    lines.write_text("precious")
    done = segstream("record", "-s", "demo", "-o", tmp_path / "out.mp4", "--save-jsonl", lines, *UNTRAINED)
    assert done.code == 4, done
    assert lines.read_text() == "precious"
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("option", OUTPUTS)
def test_outputs_are_checked_before_the_model_and_left_clean(segstream: Callable, tmp_path: Path, option: str) -> None:
    """Both are wrong: the output is told. With a good output the model is told, and nothing is left behind."""
    target = tmp_path / OUTPUTS[option]
    wrong = segstream("record", "-s", "demo:64x64", option, tmp_path / "no" / "x.mp4", "-m", "no-such-model")
    assert wrong.code == 4 and "no-such-model" not in one_sentence(wrong.err)
    done = segstream("record", "-s", "demo:64x64", option, target, "-m", "no-such-model")
    assert done.code == 2 and "no-such-model" in one_sentence(done.err)
    assert list(tmp_path.iterdir()) == []


def test_two_outputs_of_one_name(segstream: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    done = segstream("record", "-s", "demo:64x64", "-o", out, "--save-jsonl", out, *UNTRAINED)
    assert done.code == 2 and "two names" in one_sentence(done.err)
    assert list(tmp_path.iterdir()) == []


def test_output_of_an_unknown_kind(segstream: Callable, tmp_path: Path) -> None:
    done = segstream("record", "-s", "demo", "-o", tmp_path / "out.txt", *UNTRAINED)
    assert done.code in (2, 4), done
    assert ".mp4" in one_sentence(done.err)
    assert list(tmp_path.iterdir()) == []


def test_full_disk(segstream: Callable) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = segstream("record", "-s", "demo:320x180", "--save-jsonl", "/dev/full", *UNTRAINED, "--max-frames", "40")
    assert done.code == 4, done
    assert "space" in one_sentence(done.err).lower()


@pytest.mark.parametrize("command", [["bench"], ["eval", "--dataset", "demo"]])
def test_reports_are_not_overwritten(segstream: Callable, tmp_path: Path, command: list[str]) -> None:
    target = tmp_path / "report.json"
    target.write_text("precious")
    done = segstream(*command, *UNTRAINED, "--json", target)
    assert done.code == 4, done
    assert "--overwrite" in one_sentence(done.err)
    assert target.read_text() == "precious"
    done = segstream(*command, *UNTRAINED, "--json", tmp_path / "nowhere" / "report.json")
    assert done.code == 4, done


@pytest.mark.parametrize("kind", ["missing", "text", "other"])
def test_checkpoints_that_cannot_be_imported(segstream: Callable, tmp_path: Path, kind: str) -> None:
    checkpoint = tmp_path / "theirs.pth"
    if kind == "text":
        checkpoint.write_text("no weights")
    elif kind == "other":
        torch.save({"weight": torch.zeros(3)}, checkpoint)
    out = tmp_path / "ours.safetensors"
    done = segstream("models", "import", checkpoint, "-o", out, "--encoder", "resnet18")
    assert done.code == 2, done
    one_sentence(done.err)
    assert not out.exists()


def test_dataset_that_is_not_there(segstream: Callable, tmp_path: Path) -> None:
    done = segstream("eval", "--dataset", "camvid", "--data", tmp_path / "nowhere", *UNTRAINED)
    assert done.code in (2, 3), done
    one_sentence(done.err)


def test_traceback_only_with_v(segstream: Callable) -> None:
    quiet = segstream("record", "-s", "/nowhere.mp4", "-o", "/tmp/never.mp4", *UNTRAINED)
    loud = segstream("record", "-s", "/nowhere.mp4", "-o", "/tmp/never.mp4", *UNTRAINED, "-v")
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err and loud.code == 3
