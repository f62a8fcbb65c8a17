"""Recordings that are killed, interrupted, or run out of disk: what was written plays, what was there before stays."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import segstream
from segstream.errors import OutputError
from tests.segstream.media import Quick, read_video, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "in.mp4", 100, (320, 192), audio="aac")


def lines_of(process: subprocess.Popen[str], count: int) -> str:
    """Wait for so many lines, and return the last."""
    assert process.stdout is not None
    line = ""
    for _ in range(count):
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
    return line


def playable(path: Path) -> int:
    found = read_video(path)
    assert all(a < b for a, b in zip(found.times, found.times[1:], strict=False))
    return len(found.times)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_kill_9(video: Path, tmp_path: Path, suffix: str, kills: int, child, figure) -> None:
    """Twenty kills in the long run, ten for each container, at random moments: at most one second is missing."""
    dice = random.Random(kills)
    behind = []
    for kill in range(kills):
        out = tmp_path / f"{kill}{suffix}"
        process = child("recorder.py", video, out, 10)
        last = lines_of(process, dice.randrange(30, 220))
        time.sleep(dice.random() * 0.1)
        process.kill()
        written = int((process.stdout.read() or last).split()[-1])  # frames that were reported before the end
        behind.append((written - playable(out)) / 25)
        assert read_video(out).audio_codec == "aac"
    assert max(behind) <= 1.0
    figure(f"kill -9, {kills} times, {suffix}", f"playable, at most {max(behind):.2f} s of video behind")


@pytest.mark.timeout(60)
def test_kill_9_leaves_the_old_file(video: Path, tmp_path: Path, child) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"precious")
    process = child("recorder.py", video, out, 0)
    lines_of(process, 60)
    process.kill()
    process.wait()
    assert out.read_bytes() == b"precious"
    assert playable(tmp_path / "out.part.mp4") > 20


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_finish_the_file(video: Path, tmp_path: Path, number: signal.Signals, child, figure) -> None:
    out = tmp_path / "out.mp4"
    process = child("recorder.py", video, out, 5)
    lines_of(process, 40)
    process.send_signal(number)
    begin = time.monotonic()
    rest = process.stdout.read().split()
    assert process.wait(10) == 130
    took = time.monotonic() - begin
    found = read_video(out)
    assert len(found.times) == (int(rest[-1]) if rest else 40)
    assert float(found.audio[-1][0]) == pytest.approx(float(found.times[-1]), abs=0.2)
    data = out.read_bytes()
    assert b"moov" in data[-20_000:] and b"moof" not in data[:2000]  # an ordinary MP4
    assert took < 3
    figure(number.name, f"file complete {took:.2f} s later, exit code 130")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("frames", [5, 60])
def test_ctrl_c_in_python_finishes_the_file(video: Path, tmp_path: Path, frames: int, child) -> None:
    out = tmp_path / "out.mp4"
    process = child("recorder.py", video, out, 5, "--plain")
    lines_of(process, frames)
    process.send_signal(signal.SIGINT)
    last = int(process.stdout.read().split()[-1])
    assert process.wait(10) == 130
    assert last - 2 <= playable(out) <= last


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_write_refused_in_the_middle(video: Path, tmp_path: Path, suffix: str, child) -> None:
    out = tmp_path / f"out{suffix}"
    process = child("recorder.py", video, out, 0, "--limit", 100_000)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 4
    assert errors.count("\n") == 1 and "cannot be written any further" in errors
    assert playable(out) > 20


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_dev_full(video: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    out.symlink_to("/dev/full")
    begin = time.monotonic()
    with pytest.raises(OutputError, match="No space left on device") as caught:
        segstream.record(str(video), out, model=Quick())
    assert caught.value.exit_code == 4 and time.monotonic() - begin < 10
    with pytest.raises(OutputError, match="No space left on device"):
        (tmp_path / "lines.jsonl").symlink_to("/dev/full")
        segstream.record(str(video), None, model=Quick(), save_jsonl=tmp_path / "lines.jsonl")


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of a given size."""
    mounted: list[Path] = []

    def mount(kilobytes: int) -> Path:
        folder = tmp_path / f"disk{kilobytes}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(folder)]
        if not shutil.which("mount") or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small tmpfs needs root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_full_disk(video: Path, suffix: str, small_disk, figure) -> None:
    kept = []
    for kilobytes in (24, 60, 128, 200):
        out = small_disk(kilobytes) / f"out{suffix}"
        with pytest.raises(OutputError, match="No space left on device") as caught:
            segstream.record(str(video), out, model=Quick(), loop=True, max_frames=2000)
        assert caught.value.exit_code == 4
        if kilobytes > 60:
            kept.append(playable(out))
            assert read_video(out).errors == 0
    assert min(kept) > 20 and kept == sorted(kept)
    figure(f"disk full, {suffix}", f"exit code 4, {kept} frames playable at 128 and 200 KB")


@pytest.mark.timeout(60)
def test_vanished_share(video: Path, tmp_path: Path, small_disk) -> None:
    """A file system taken away under the recording: masks fail at the next file, everything ends with one sentence."""
    disk = small_disk(20_000)
    (disk / "masks").mkdir()

    class Vanishing(Quick):
        def __call__(self, frame, previous=None):
            if frame.index == 30:
                subprocess.run(["umount", "-l", str(disk)], check=True)
                subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(disk)], check=True)
            return super().__call__(frame)

    begin = time.monotonic()
    with pytest.raises(OutputError, match="cannot be written"):
        segstream.record(
            str(video), tmp_path / "out.mp4", model=Vanishing(), save_masks=disk / "masks", loop=True, max_frames=2000
        )
    assert time.monotonic() - begin < 10
    assert playable(tmp_path / "out.mp4") >= 25  # the other output is finished


@pytest.mark.timeout(60)
def test_unwritable_and_strange_targets(video: Path, tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "no" / "out.mp4", tmp_path / ("x" * 300 + ".mp4")):
        with pytest.raises((OutputError, segstream.errors.UsageError)) as caught:
            segstream.record(str(video), out, model=Quick(), max_frames=3)
        assert "\n" not in str(caught.value)
    for name in ("ünï cödé 道.mp4", "a:b.mp4", "100%d.mp4"):
        segstream.record(str(video), tmp_path / name, model=Quick(), max_frames=3)
        assert playable(tmp_path / name) == 3
