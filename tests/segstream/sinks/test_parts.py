"""Recordings in parts: what they are called, which are removed, and that others' files stay."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

import segstream
from segstream.frames import Frame, Result
from segstream.sinks import VideoOptions, VideoSink
from segstream.sinks.parts import PART_COMMENT, recorded_parts, remove_oldest
from tests.segstream.media import Quick, picture, read_video, write_video
from tests.segstream.sinks.helpers import PLAIN, record


def test_segments_and_the_oldest_removed(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", 100, audio="aac")
    summary = record(source, tmp_path / "out.mp4", segment_seconds=1.0)
    assert [path.name for path in summary.outputs] == [f"out-{i:03d}.mp4" for i in range(4)]
    for path in summary.outputs:
        part = read_video(path)
        assert part.times == [Fraction(i, 25) for i in range(25)]
        assert float(part.audio[-1][0]) == pytest.approx(1.0, abs=0.1)
    size = max(path.stat().st_size for path in summary.outputs)
    summary = record(
        source, tmp_path / "ring.mp4", segment_seconds=1.0, keep_bytes=int(2.5 * size), loop=True, max_frames=300
    )
    left = sorted(path.name for path in tmp_path.glob("ring-*.mp4"))
    assert left == ["ring-010.mp4", "ring-011.mp4"]
    assert [path.name for path in summary.outputs] == left


def test_segments_go_on_after_those_that_are_there(tmp_path: Path) -> None:
    """A recorder that is started again, after a power cut say, loses nothing and keeps to its limit."""
    source = write_video(tmp_path / "in.mp4", 100)
    first = record(source, tmp_path / "cam.mkv", segment_seconds=1.0)
    for path in first.outputs[:2]:
        path.unlink()  # as the ring does
    kept = {path: path.read_bytes() for path in first.outputs[2:]}
    again = record(source, tmp_path / "cam.mkv", segment_seconds=1.0)
    assert [path.name for path in again.outputs] == [f"cam-{i:03d}.mkv" for i in range(4, 8)]
    assert all(len(read_video(path).times) == 25 for path in again.outputs)
    assert {path: path.read_bytes() for path in kept} == kept
    assert [note for note in again.notes if "cam-" in note] == [
        "cam-003.mkv is there already, so cam-004.mkv is the next"
    ]
    size = max(path.stat().st_size for path in again.outputs)
    third = record(source, tmp_path / "cam.mkv", segment_seconds=1.0, keep_bytes=int(5.5 * size))
    assert sorted(path.name for path in tmp_path.glob("cam-*")) == [f"cam-{i:03d}.mkv" for i in range(7, 12)]
    assert [path.name for path in third.outputs] == [f"cam-{i:03d}.mkv" for i in range(8, 12)]


def test_overwritten_segments_count_and_go_first(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", 100)
    size = max(path.stat().st_size for path in record(source, tmp_path / "cam.mkv", segment_seconds=1.0).outputs)
    old = [tmp_path / f"cam-{number:03d}.mkv" for number in (2, 3, 7, 8)]
    for path in old:
        path.write_bytes(PART_COMMENT.encode().ljust(size))
    others = [
        tmp_path / name for name in ("cam-20240131.mkv", "cam-07.mkv", "cam-0007.mkv", "cam-007.mp4", "x-007.mkv")
    ]
    for path in others:
        path.write_bytes(b"x" * size)
    (tmp_path / "cam-009.mkv").mkdir()
    options = {"segment_seconds": 1.0, "overwrite": True}
    summary = record(source, tmp_path / "cam.mkv", keep_bytes=int(5.5 * size), **options)
    assert [path.name for path in summary.outputs] == [f"cam-{i:03d}.mkv" for i in range(4)]
    assert not old[2].exists() and old[3].exists() and all(path.exists() for path in others)
    assert all(len(read_video(path).times) == 25 for path in summary.outputs)


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv", ".webm"])
def test_parts_are_known_finished_and_not(tmp_path: Path, suffix: str) -> None:
    """One that a recorder was torn away from counts too."""
    source, video = write_video(tmp_path / "in.mp4", 100, audio="aac"), tmp_path / f"cam{suffix}"
    unfinished = tmp_path / f"cam-007{suffix}"

    class Watching(Quick):
        def __call__(self, frame, *previous):
            if frame.index == 90:
                unfinished.write_bytes((tmp_path / f"cam-001{suffix}").read_bytes())
            return super().__call__(frame, *previous)

    summary = segstream.record(source, video, model=Watching(), draw=PLAIN, segment_seconds=2.0)
    parts = [*summary.outputs, unfinished]
    assert len(parts) == 3 and list(recorded_parts(video)) == parts
    for path in parts:
        with av.open(str(path)) as container:
            assert PART_COMMENT in container.metadata.values()


def test_only_what_a_recorder_made_is_removed(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", 100)
    others = [tmp_path / name for name in ("cam-000.mp4", "cam-720.mp4", "cam-2023.mp4")]
    for path in others:
        record(source, path)
    before = [path.read_bytes() for path in others]
    first = record(source, tmp_path / "cam.mp4", segment_seconds=2.0)
    assert [path.name for path in first.outputs] == ["cam-2024.mp4", "cam-2025.mp4"]
    size = max(path.stat().st_size for path in first.outputs)
    again = record(source, tmp_path / "cam.mp4", segment_seconds=2.0, keep_bytes=int(3.5 * size))
    assert [path.name for path in again.outputs] == ["cam-2026.mp4", "cam-2027.mp4"]
    left = sorted(tmp_path.glob("cam-*"))
    assert left == sorted([*others, first.outputs[1], *again.outputs])
    assert [path.read_bytes() for path in others] == before


def test_two_recorders_of_one_name_leave_each_other_their_files(tmp_path: Path) -> None:
    options = VideoOptions(segment_seconds=0.4, keep_bytes=1)
    image = picture(0, 64, 48)

    def result(index: int) -> Result:
        frame = Frame(image=image, index=index, pts=index, time_base=Fraction(1, 25), pts_seconds=index / 25)
        return Quick()(frame)

    one = VideoSink(tmp_path / "cam.mkv", options=options)
    for index in range(15):
        one.write(result(index), image)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["cam-000.mkv", "cam-001.mkv"]
    other = VideoSink(tmp_path / "cam.mkv", options=options)
    for index in range(25):
        if index < 3:
            one.write(result(15 + index), image)
        other.write(result(index), image)
    assert one.outputs == [tmp_path / "cam-000.mkv", tmp_path / "cam-001.mkv"]
    for index in range(18, 20):
        one.write(result(index), image)
    assert (tmp_path / "cam-001.mkv").exists()
    one.close()
    other.close()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["cam-001.mkv", "cam-004.mkv"]
    assert len(read_video(tmp_path / "cam-001.mkv").times) == 10


def test_a_part_that_comes_in_between_ends_nothing(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", 75)

    class Disturbed(Quick):
        def __call__(self, frame, *previous):
            (tmp_path / "cam-001.mp4").write_bytes(b"precious")
            return super().__call__(frame, *previous)

    summary = segstream.record(source, tmp_path / "cam.mp4", model=Disturbed(), segment_seconds=1.0)
    assert [path.name for path in summary.outputs] == ["cam-000.mp4", "cam-002.mp4", "cam-003.mp4"]
    assert (tmp_path / "cam-001.mp4").read_bytes() == b"precious"


def test_a_part_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (tmp_path / f"cam-{number:03d}.mkv").write_bytes(PART_COMMENT.encode())
    unlink = Path.unlink

    def refusing(path: Path, missing_ok: bool = False) -> None:  # root, who may run this, is refused nothing
        if path.name == "cam-000.mkv":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refusing)
    video = tmp_path / "cam.mkv"
    removed, notes = remove_oldest(video, [], recorded_parts(video), len(PART_COMMENT))
    assert removed == [tmp_path / "cam-001.mkv"]
    assert len(notes) == 1 and "cam-000.mkv cannot be removed" in notes[0]


def test_a_split_recording_goes_around_the_parts_that_are_there(tmp_path: Path) -> None:
    joined = tmp_path / "joined.ts"
    parts = [write_video(tmp_path / f"{i}.ts", 8, size) for i, size in enumerate([(96, 64), (64, 96)])]
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    (tmp_path / "out-001.mp4").write_bytes(b"precious")
    summary = record(joined, tmp_path / "out.mp4", on_resize="split")
    assert [path.name for path in summary.outputs] == ["out.mp4", "out-002.mp4"]
    assert (tmp_path / "out-001.mp4").read_bytes() == b"precious"
    assert any("out-001.mp4 is there already" in note for note in summary.notes)
    again = record(joined, tmp_path / "out.mp4", on_resize="split", overwrite=True)
    assert [path.name for path in again.outputs] == ["out.mp4", "out-001.mp4"]
    assert [len(read_video(path).times) for path in again.outputs] == [8, 8]
