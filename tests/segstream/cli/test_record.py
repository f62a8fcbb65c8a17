"""`segstream record` and `segstream run` on the drawn street: what is written and what is said."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import av
import numpy as np
import pytest
from PIL import Image

from tests.segstream.media import write_video

FAST = ("-m", "untrained-rn18", "--size", "96x64")
DEMO = ("-s", "demo:192x128")


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def without_reader(process: Popen[str], *names: str) -> None:
    """Close our end of the process's stdout or stderr."""
    for name in names:
        getattr(process, name).close()
        setattr(process, name, None)


def test_record_writes_video_masks_and_lines(segstream: Callable, tmp_path: Path) -> None:
    video, masks, lines = tmp_path / "a.mp4", tmp_path / "masks", tmp_path / "a.jsonl"
    done = segstream(
        "record",
        *DEMO,
        *FAST,
        "--max-frames",
        "7",
        "-o",
        video,
        "--save-masks",
        masks,
        "--save-jsonl",
        lines,
        "--stats",
    )
    assert done.code == 0, done
    assert done.out.startswith("7 frames in ") and "a.mp4" in done.out and "of blocks high" in done.out
    assert count_frames(video) == 7
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(7))
    assert {"pts_seconds", "blocks", "high_share", "gmacs", "classes", "ms"} <= rows[0].keys()
    assert sum(rows[0]["classes"].values()) == pytest.approx(1, abs=0.01)
    pictures = sorted(masks.glob("*.png"))
    assert len(pictures) == 7
    mask = Image.open(pictures[0])
    assert mask.mode == "P" and mask.size == (192, 128) and np.asarray(mask).max() < 11


def test_overwrite_replaces(segstream: Callable, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    for frames in ("2", "5"):
        done = segstream("record", *DEMO, *FAST, "--max-frames", frames, "-o", video, "--overwrite", "-q")
        assert done.code == 0 and done.out == "", done
    assert count_frames(video) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_policy_threshold_and_budget_reach_the_network(segstream: Callable, tmp_path: Path) -> None:
    shares = {}
    for name, options in {
        "high": ["--policy", "high"],
        "low": ["--policy", "low"],
        "budget": ["--policy", "high", "--budget", "0.5"],
        "threshold": ["--policy", "heuristic", "--threshold", "1"],
    }.items():
        lines = tmp_path / f"{name}.jsonl"
        done = segstream(
            "record", "-s", "demo:256x256", "-m", "untrained-rn18", "--size", "256x256",
            "--max-frames", "1", "--save-jsonl", lines, *options,
        )  # fmt: skip
        assert done.code == 0, done
        shares[name] = json.loads(lines.read_text())["high_share"]
    assert shares == {"high": 1.0, "low": 0.0, "budget": 0.5, "threshold": 0.0}


def test_palette_and_view_reach_the_picture(segstream: Callable, tmp_path: Path) -> None:
    from segstream.palettes import palette
    from segstream.scenes import CLASSES

    video = tmp_path / "a.mkv"
    done = segstream(
        "record", *DEMO, *FAST, "--max-frames", "1", "-o", video, "--codec", "ffv1",
        "--view", "mask", "--no-grid", "--palette", "safe",
    )  # fmt: skip
    assert done.code == 0, done
    with av.open(str(video)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    colours = np.unique(picture.reshape(-1, 3), axis=0).astype(int)
    safe = palette("safe", CLASSES).astype(int)
    assert all(np.abs(safe - colour).max(axis=1).min() <= 6 for colour in colours)


def test_config_file_gives_defaults_and_the_command_line_wins(segstream: Callable, tmp_path: Path) -> None:
    lines, config = tmp_path / "a.jsonl", tmp_path / "settings.yaml"
    config.write_text(
        f"source: demo:192x128\nmodel: untrained-rn18\nsize: 96x64\nmax-frames: 3\npolicy: low\n"
        f"save_jsonl: {lines}\nreconnect: off\nprogress: off\nheadless: true\n"
        f"output: {tmp_path / 'a.mp4'}\nsegment: 1\n"
        "json: of-eval.json\nencoder: of-models-import\n"  # other commands' options
    )
    done = segstream("record", "--config", config, "--policy", "high")
    assert done.code == 0, done
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(rows) == 3 and rows[0]["high_share"] == 1.0
    assert (tmp_path / "a-000.mp4").is_file()


def test_progress_as_json_is_json_and_nothing_else(segstream: Callable, tmp_path: Path) -> None:
    done = segstream("record", *DEMO, *FAST, "--max-frames", "3", "-o", tmp_path / "a.mp4", "--progress", "json")
    assert done.code == 0, done
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows[-1]["event"] == "done" and rows[-1]["frames"] == 3 and rows[-1]["total_frames"] == 3
    assert {"fps", "high_share", "gmacs", "ms", "eta_s", "sources"} <= rows[-1].keys()
    source = write_video(tmp_path / "in.mp4", 25)
    part = ("-s", source, "--start", "0.5", "--end", "0.8", *FAST, "--save-masks", tmp_path / "masks")
    done = segstream("record", *part, "--progress", "json")
    last = json.loads(done.out.splitlines()[-1])
    assert last["frames"] == last["total_frames"] == 7  # from 0.52 s to 0.76 s


def test_several_sources_go_into_folders(segstream: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    done = segstream("record", *DEMO, "-s", "demo:128x96", *FAST, "--max-frames", "2", "-o", out)
    assert done.code == 0, done
    assert sorted(count_frames(path) for path in out.iterdir()) == [2, 2]


def test_globs_folders_and_several_videos(segstream: Callable, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir(), out.mkdir()
    for k in range(4):
        Image.fromarray(np.full((48, 64, 3), 60 * k, np.uint8)).save(photos / f"{k}.png")
    for spec, frames in ((f"{photos}/*.png", 4), (f"{photos}/[12].png", 2), (photos, 4)):
        done = segstream("record", "-s", spec, *FAST, "-o", tmp_path / "a.mp4", "--overwrite", "-q")
        assert done.code == 0 and count_frames(tmp_path / "a.mp4") == frames, done
    films = [write_video(tmp_path / f"film{k}.mp4", 3 + k) for k in range(2)]
    done = segstream("record", "-s", films[0], "-s", films[1], "-s", photos, *FAST, "-o", out)
    assert done.code == 0, done
    assert {path.name: count_frames(path) for path in out.iterdir()} == {
        "film0.mp4": 3,
        "film1.mp4": 4,
        "photos.mp4": 4,
    }


@pytest.mark.parametrize(("choice", "files"), [("letterbox", ["a.mp4"]), ("split", ["a-001.mp4", "a.mp4"])])
def test_a_source_that_changes_its_size(segstream: Callable, tmp_path: Path, choice: str, files: list[str]) -> None:
    parts = [write_video(tmp_path / f"{i}.ts", 8, size) for i, size in enumerate([(96, 64), (64, 96)])]
    (tmp_path / "joined.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    done = segstream("record", "-s", tmp_path / "joined.ts", *FAST, "-o", tmp_path / "a.mp4", "--on-resize", choice)
    assert done.code == 0, done
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == files
    assert sum(count_frames(tmp_path / name) for name in files) == 16


def test_the_format_of_a_camera_reaches_it(segstream: Callable, tmp_path: Path) -> None:
    options = ("--cam-format", "mjpeg", "--cam-size", "640x480", "--cam-fps", "30")
    done = segstream("record", "-s", "/dev/video97", *options, *FAST, "-o", tmp_path / "a.mp4", "--reconnect", "off")
    assert done.code == 3 and "video97" in done.err, done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_recording_is_finished(start: Callable, tmp_path: Path, number: signal.Signals) -> None:
    video = tmp_path / "a.mp4"
    process = start("record", *DEMO, *FAST, "--loop", "-o", video, "--progress", "json")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["frames"] >= 3:
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert count_frames(video) == json.loads(out.splitlines()[-1])["frames"] >= 3


def test_interrupted_while_connecting(start: Callable) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://user:secret@127.0.0.1:{silent.getsockname()[1]}/x"
        process = start("run", "-s", url, "--headless", "--open-timeout", "5", *FAST)
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "secret" not in out + err


def test_run_without_a_display_goes_on_in_the_terminal(start: Callable) -> None:
    process = start("run", *DEMO, *FAST, "--max-frames", "3")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    notes = [line for line in err.splitlines() if line.startswith("note:")]
    assert len(notes) == 1 and "display" in notes[0] and notes[0].endswith("in the terminal")
    assert out.startswith("frame 3 of 3")


def test_run_headless_shows_json(segstream: Callable) -> None:
    done = segstream("run", *DEMO, *FAST, "--max-frames", "3", "--headless", "--progress", "json")
    assert done.code == 0, done
    assert json.loads(done.out.splitlines()[-1])["frames"] == 3


@pytest.mark.parametrize("arguments", [["--help"], ["record", "--help"], ["models"]], ids=" ".join)
def test_output_piped_to_a_reader_that_leaves(start: Callable, arguments: list[str]) -> None:
    process = start(*arguments)
    without_reader(process, "stdout")
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 0 and err == ""


@pytest.mark.parametrize("mode", ["json", "auto"])
def test_a_recording_goes_on_when_nobody_reads_its_progress(start: Callable, tmp_path: Path, mode: str) -> None:
    film, out = write_video(tmp_path / "film.mp4", 12, audio="aac"), tmp_path / "out.webm"
    process = start("record", "-s", film, *FAST, "-o", out, "--progress", mode)
    without_reader(process, "stdout")
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 0, err
    assert err.startswith("note:") and "sound" in err and len(err.splitlines()) == 1
    assert count_frames(out) == 12


def test_a_reader_of_the_progress_that_leaves_changes_no_exit_code(start: Callable, tmp_path: Path) -> None:
    video = tmp_path / "a.mkv"
    process = start("record", *DEMO, *FAST, "--loop", "-o", video, "--progress", "json")
    while json.loads(process.stdout.readline())["frames"] < 3:
        pass
    without_reader(process, "stdout")
    time.sleep(2.2)  # two lines that nobody reads
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and err == ""
    assert count_frames(video) >= 3


def test_messages_that_nobody_reads_change_no_exit_code(start: Callable, tmp_path: Path) -> None:
    film, out = write_video(tmp_path / "film.mp4", 12, audio="aac"), tmp_path / "out.webm"
    process = start("record", "-s", film, *FAST, "-o", out)  # has a note
    without_reader(process, "stdout", "stderr")
    assert process.wait(timeout=120) == 0
    assert count_frames(out) == 12
    process = start("record", "-s", tmp_path / "missing.mp4", *FAST, "-o", out)
    without_reader(process, "stdout", "stderr")
    assert process.wait(timeout=120) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["record", *DEMO, *FAST, "--max-frames", "3", "-o", "OUT", "--progress", "json"], 0),
        (["record", *DEMO, *FAST, "--max-frames", "3", "-o", "OUT"], 0),
        (["run", *DEMO, *FAST, "--max-frames", "3", "--headless"], 0),
        (["eval", "--dataset", "demo", *FAST, "--limit", "1"], 4),
        (["eval", "--dataset", "demo", *FAST, "--limit", "1", "--progress", "json"], 4),
    ],
    ids=lambda value: " ".join(value[:1] + value[-1:]) if isinstance(value, list) else "",
)
def test_stdout_on_a_full_disk(start: Callable, tmp_path: Path, arguments: list[str], code: int) -> None:
    """What is printed beside the work may be lost; a result may not."""
    full = os.open("/dev/full", os.O_WRONLY)
    process = start(*[str(tmp_path / "a.mp4") if word == "OUT" else word for word in arguments], stdout=full)
    os.close(full)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == code, err
    lines = [line for line in err.splitlines() if not line.startswith("frame ")]
    assert len(lines) == (code != 0) and "internal" not in err and "Traceback" not in err, err


def test_results_that_nobody_reads_are_no_error(start: Callable, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ["eval", "--dataset", "demo", *FAST, "--limit", "2", "--json", report]
    for progress in ("json", "auto"):
        process = start(*arguments, "--progress", progress, "--overwrite")
        without_reader(process, "stdout")
        err = process.communicate(timeout=120)[1]
        assert process.returncode == 0 and err == ""
        assert json.loads(report.read_text())["images"] == 2
        report.unlink()
