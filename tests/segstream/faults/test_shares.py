"""Network shares that vanish or hang under a recording: a file system in a process of its own, killed or stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import segstream
from segstream.errors import OutputError
from tests.segstream.media import Quick, read_video, write_video


class Share:
    """`mount` shows what is in `disk`, through a process that answers for it, like the client of a network share."""

    def __init__(self, folder: Path) -> None:
        self.disk, self.mount = folder / "disk", folder / "share"
        self.disk.mkdir(), self.mount.mkdir()
        command = ["bindfs", "-f", str(self.disk), str(self.mount)]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.monotonic() + 5
        while not os.path.ismount(self.mount):
            if self._server.poll() is not None:
                self.close()
                pytest.skip("bindfs cannot mount here; it needs /dev/fuse and the right to use it")
            assert time.monotonic() < end, "bindfs runs and mounts nothing"
            time.sleep(0.01)

    def vanish(self) -> None:
        """From now on every access fails: "Transport endpoint is not connected"."""
        self._server.kill()
        self._server.wait()

    def hang(self) -> None:
        """From now on no access is answered."""
        self._server.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._server.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()
        subprocess.run(["fusermount3", "-uz", str(self.mount)], capture_output=True)


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    if not shutil.which("bindfs") or not shutil.which("fusermount3"):
        pytest.skip("needs bindfs and fuse3")
    made = Share(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "in.mp4", 100, (320, 192), audio="aac")


class At(Quick):
    """Does something when it comes to a frame."""

    def __init__(self, frame: int, action) -> None:
        super().__init__(3)
        self.frame, self.action = frame, action

    def __call__(self, frame, *previous):
        if frame.index == self.frame:
            self.action()
        return super().__call__(frame, *previous)


@pytest.mark.parametrize("what", ["a.mp4", "a.mkv", "masks", "a.jsonl"])
def test_a_share_that_vanishes_under_the_recording(
    video: Path, tmp_path: Path, share: Share, what: str, figure
) -> None:
    target = share.mount / what
    options = {"masks": {"save_masks": target}, "a.jsonl": {"save_jsonl": target}}.get(what, {})
    out = tmp_path / "local.mp4" if options else target
    gone: list[float] = []

    def vanish() -> None:
        share.vanish()
        gone.append(time.monotonic())

    with pytest.raises(OutputError, match="cannot be written") as caught:
        segstream.record(str(video), out, model=At(60, vanish), loop=True, max_frames=2000, **options)
    took = time.monotonic() - gone[0]
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value) and took < 5
    if what == "masks":
        kept = len(list((share.disk / "masks").glob("*.png")))
    elif what == "a.jsonl":
        kept = len((share.disk / "a.jsonl").read_text().splitlines())
    else:
        kept = len(read_video(share.disk / what).times)
    assert kept >= 60 - 25  # at most one second behind
    if options:
        assert len(read_video(out).times) >= 55  # the other output is finished
    figure(f"share vanishes, {what}", f"exit code 4 {took:.2f} s later, {kept} of 60 frames there")


def test_a_share_that_hangs_for_a_while_costs_nothing(video: Path, share: Share) -> None:
    def hang() -> None:
        share.hang()
        threading.Timer(1.5, share.go_on).start()

    begin = time.monotonic()
    summary = segstream.record(str(video), share.mount / "a.mp4", model=At(40, hang))
    assert time.monotonic() - begin > 1.5 and summary.frames == 100
    assert len(read_video(share.disk / "a.mp4").times) == 100


def test_a_share_that_hangs_and_is_then_given_up(video: Path, share: Share) -> None:
    def hang() -> None:
        share.hang()
        threading.Timer(1.5, share.vanish).start()

    begin = time.monotonic()
    with pytest.raises(OutputError, match="cannot be written"):
        segstream.record(str(video), share.mount / "a.mp4", model=At(40, hang), loop=True, max_frames=2000)
    assert time.monotonic() - begin < 8
    assert len(read_video(share.disk / "a.mp4").times) > 15


def test_a_source_on_a_share_that_vanishes(tmp_path: Path, share: Share, figure) -> None:
    whole = write_video(share.disk / "in.avi", 300, (320, 192), codec="rawvideo")
    assert whole.stat().st_size > 20_000_000  # far more than is read ahead
    summary = segstream.record(str(share.mount / "in.avi"), tmp_path / "a.mp4", model=At(20, share.vanish))
    assert 20 < summary.frames < 300
    assert any("ends early" in warning for warning in summary.warnings)
    assert len(read_video(tmp_path / "a.mp4").times) == summary.frames
    figure("source's share vanishes", f"warned, {summary.frames} of 300 frames recorded and playable")
