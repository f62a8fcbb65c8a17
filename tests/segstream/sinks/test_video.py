"""Annotated videos: the source's timestamps and sound, any container and codec, never at the cost of an old file."""

from __future__ import annotations

import os
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import segstream
from segstream.errors import OutputError, UsageError
from segstream.frames import Frame, Result
from segstream.pipeline import DrawOptions, Lane
from segstream.recording import record_lanes
from segstream.sinks import VideoOptions, VideoSink
from segstream.sinks.base import OutputFile, is_special
from segstream.sinks.parts import PART_COMMENT, recorded_parts, remove_oldest
from segstream.sources import SourceOptions, open_source
from tests.segstream.media import Quick, files_end_at, picture, read_video, write_video

PLAIN = DrawOptions(view="source", grid=False)


def record(source: Path, out: Path, **options):
    return segstream.record(str(source), out, model=Quick(), draw=PLAIN, **options)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_times_and_sound_arrive(tmp_path: Path, suffix: str) -> None:
    source = write_video(tmp_path / "in.mp4", 50, audio="aac")
    summary = record(source, tmp_path / f"out{suffix}")
    before, after = read_video(source), read_video(tmp_path / f"out{suffix}")
    assert summary.frames == 50 and summary.outputs == (tmp_path / f"out{suffix}",)
    assert after.times == before.times
    assert after.errors == 0
    length = after.audio[-1][0] - after.audio[0][0]
    assert float(length) == pytest.approx(float(before.audio[-1][0] - before.audio[0][0]), abs=0.05)
    if suffix in (".mp4", ".mov"):
        assert after.audio == before.audio  # copied, byte for byte
    if suffix == ".webm":
        assert after.audio_codec == "opus" and any("transcoded" in note for note in summary.notes)


def test_pictures_and_colours_survive(tmp_path: Path) -> None:
    for size in ((96, 64), (1280, 720)):
        source = write_video(tmp_path / "in.mkv", 3, size, codec="ffv1", pix_fmt="bgr0")
        record(source, tmp_path / "out.mp4", overwrite=True, crf=10)
        images = read_video(tmp_path / "out.mp4", images=True).images
        with segstream.sources.open_source(tmp_path / "out.mp4") as again:
            seen = next(again).image
        assert np.abs(seen.astype(int) - picture(0, *size)).mean() < 4
        assert len(images) == 3


@pytest.mark.parametrize(
    ("codec", "suffix", "name"),
    [
        ("h264", ".mkv", "h264"),
        ("hevc", ".mp4", "hevc"),
        ("vp9", ".webm", "vp9"),
        ("vp9", ".mp4", "vp9"),
        ("av1", ".webm", "libdav1d"),
        ("av1", ".mkv", "libdav1d"),
        ("ffv1", ".mkv", "ffv1"),
    ],
)
def test_codecs(tmp_path: Path, codec: str, suffix: str, name: str) -> None:
    source = write_video(tmp_path / "in.mp4", 10)
    record(source, tmp_path / f"out{suffix}", codec=codec)
    after = read_video(tmp_path / f"out{suffix}")
    assert (after.codec, after.errors, after.times) == (name, 0, read_video(source).times)


def test_variable_rate_gaps_and_odd_size(tmp_path: Path) -> None:
    pts = [0, 3, 400, 401, 5000, 5040, 90_000]
    source = write_video(
        tmp_path / "in.mkv", 7, (97, 63), codec="ffv1", pts=pts, time_base=Fraction(1, 1000), pix_fmt="bgr0"
    )
    record(source, tmp_path / "out.mp4")
    after = read_video(tmp_path / "out.mp4")
    assert after.times == [Fraction(p, 1000) for p in pts]
    assert after.size == (98, 64)
    record(source, tmp_path / "out.mkv", codec="ffv1")
    assert read_video(tmp_path / "out.mkv").size == (97, 63)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_pixels_keep_their_shape(tmp_path: Path, suffix: str, codec: str) -> None:
    wide = {"preset": "ultrafast", "aspect": "64/45"}
    source = write_video(tmp_path / "in.mp4", 30, (720, 576), options=wide, audio="aac")
    segments = {"segment_seconds": 0.8}
    for draw in (PLAIN, DrawOptions(view="split", legend=True)):
        options = {"codec": codec, "overwrite": True, **(segments if draw is PLAIN else {})}
        summary = segstream.record(source, tmp_path / f"out{suffix}", model=Quick(), draw=draw, **options)
        for path in summary.outputs:
            with av.open(str(path)) as written:
                assert written.streams.video[0].sample_aspect_ratio == Fraction(64, 45)
                frame = next(written.decode(video=0))
                assert (frame.width, frame.height) == (720, 576)
        assert len(summary.outputs) == (2 if draw is PLAIN else 1)


def test_pixels_of_a_turned_picture_and_where_their_shape_is_lost(tmp_path: Path) -> None:
    wide = {"preset": "ultrafast", "aspect": "16/11"}
    source = write_video(tmp_path / "in.mp4", 4, options=wide, rotation=90)
    record(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as written:
        assert written.streams.video[0].sample_aspect_ratio == Fraction(11, 16)
    for codec, name in (("vp9", "out.webm"), ("ffv1", "out.mkv"), ("av1", "out.mkv")):
        notes = record(source, tmp_path / name, codec=codec, overwrite=True).notes
        assert [note for note in notes if codec in note and "11:16" in note]
    record(source, tmp_path / "vp9.mp4", codec="vp9")
    with av.open(str(tmp_path / "vp9.mp4")) as written:
        assert written.streams.video[0].sample_aspect_ratio == Fraction(11, 16)
    # Of a size that comes later nobody knows the shape.
    joined = tmp_path / "joined.ts"
    parts = [
        write_video(tmp_path / "0.ts", 8, options=wide),
        write_video(tmp_path / "1.ts", 8, (64, 96)),
    ]
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    aspects = []
    for path in record(joined, tmp_path / "split.mp4", on_resize="split").outputs:
        with av.open(str(path)) as written:
            aspects.append(written.streams.video[0].sample_aspect_ratio or 1)
    assert aspects == [Fraction(16, 11), 1]


def test_part_of_a_file_starts_at_zero_with_its_sound(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", 100, audio="aac")
    record(source, tmp_path / "out.mp4", start=2.0, end=3.0)
    after = read_video(tmp_path / "out.mp4")
    assert after.times == [Fraction(i, 25) for i in range(25)]
    assert -0.05 <= after.audio[0][0] <= 0.05
    assert float(after.audio[-1][0]) == pytest.approx(1.0, abs=0.1)


def test_a_live_recording_starts_at_zero(tmp_path: Path) -> None:
    source = open_source("lavfi:testsrc2=size=64x48:rate=50,realtime", SourceOptions(end=0.4))
    time.sleep(0.5)  # a network is loaded
    sink = VideoSink(tmp_path / "out.mp4", source)
    summary = record_lanes([Lane(source, [sink])], Quick())
    times = read_video(tmp_path / "out.mp4").times
    assert times[0] == 0 and len(times) == summary.frames > 10 and times[-1] < 0.4


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_every_frame_goes_through_a_pipe(tmp_path: Path, suffix: str) -> None:
    path, got = tmp_path / f"pipe{suffix}", tmp_path / f"got{suffix}"
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.write_bytes(path.read_bytes()))
    reader.start()
    record(write_video(tmp_path / "in.mp4", 25, audio="aac"), path)
    reader.join(10)
    after = read_video(got)
    assert after.times == [Fraction(i, 25) for i in range(25)] and len(after.audio) > 40 and not after.errors


def test_av1_of_pictures_too_low_for_its_encoder_is_refused(tmp_path: Path) -> None:
    """It would wait for itself for ever."""
    source = write_video(tmp_path / "in.mkv", 3, (256, 18), codec="ffv1", pix_fmt="bgr0")
    with pytest.raises(OutputError, match=r"av1 works here for 256x18 \(libsvtav1 needs sides of 32 pixels or more"):
        record(source, tmp_path / "out.mkv", codec="av1")


def test_changed_resolution_is_letterboxed_or_split(tmp_path: Path) -> None:
    joined = tmp_path / "joined.ts"
    parts = [write_video(tmp_path / f"{i}.ts", 8, size) for i, size in enumerate([(96, 64), (64, 96)])]
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    summary = record(joined, tmp_path / "out.mp4")
    after = read_video(tmp_path / "out.mp4", images=True)
    assert summary.frames == len(after.times) == 16
    assert after.size == (96, 64)
    assert all(b - a >= Fraction(1, 30) for a, b in zip(after.times, after.times[1:], strict=False))  # right speed
    last = after.images[-1]
    assert last[:, :20].mean() < 12 and last[:, 40:56].mean() > 60  # black at the side, picture in the middle
    summary = record(joined, tmp_path / "split.mp4", on_resize="split")
    assert [path.name for path in summary.outputs] == ["split.mp4", "split-001.mp4"]
    assert [read_video(path).size for path in summary.outputs] == [(96, 64), (64, 96)]
    assert [len(read_video(path).times) for path in summary.outputs] == [8, 8]


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


def test_an_encoder_that_does_not_work_is_replaced(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", 5)
    summary = record(source, tmp_path / "out.mp4", codec="h264_qsv")  # no such hardware on any test machine
    assert read_video(tmp_path / "out.mp4").codec == "h264"
    assert any("h264_qsv" in note and "libx264" in note for note in summary.notes)


def test_mistakes_are_told_before_any_work(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", 5)
    (tmp_path / "there.mp4").write_bytes(b"precious")
    for error, out, options in (
        (OutputError, tmp_path / "there.mp4", {}),
        (OutputError, tmp_path / "no folder" / "out.mp4", {}),
        (UsageError, tmp_path / "out.txt", {}),
        (UsageError, tmp_path / "out.mp4", {"codec": "h265"}),
        (UsageError, tmp_path / "out.webm", {"codec": "h264"}),
        (UsageError, tmp_path / "out.mp4", {"crf": 99}),
        (UsageError, tmp_path / "out.mp4", {"audio": "loud"}),
        (UsageError, tmp_path / "out.mp4", {"keep_bytes": 1000}),
    ):
        with pytest.raises(error):
            record(source, out, **options)
    assert (tmp_path / "there.mp4").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "there.mp4"]


def test_overwriting_replaces_only_when_complete(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", 60)
    out = tmp_path / "out.mp4"
    out.write_bytes(b"precious")

    class Failing(Quick):
        def __call__(self, frame, *previous):
            if frame.index == 30:
                raise RuntimeError("the device is lost")
            return super().__call__(frame, *previous)

    with pytest.raises(segstream.SegstreamError, match="device is lost"):
        segstream.record(str(source), out, model=Failing(), overwrite=True)
    assert out.read_bytes() == b"precious"
    with av.open(str(tmp_path / "out.part.mp4")) as unfinished:
        assert sum(1 for _ in unfinished.decode(video=0)) >= 25
    record(source, out, overwrite=True)
    assert len(read_video(out).times) == 60
    # The unfinished one may be all that is left of something, so it is not overwritten either.
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.mp4", "out.part.mp4"]


def write_frames(sink: VideoSink, indices: range) -> None:
    for index in indices:
        image = picture(index, 96, 64)
        frame = Frame(image=image, index=index, pts=index, time_base=Fraction(1, 25), pts_seconds=index / 25)
        sink.write(Quick()(frame), image)


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_recordings_of_one_name_the_first_stays(tmp_path: Path, overwrite: bool) -> None:
    out = tmp_path / "out.mp4"
    first, second = (VideoSink(out, options=VideoOptions(overwrite=overwrite)) for _ in range(2))
    write_frames(first, range(5))
    with pytest.raises(OutputError, match="begun by another recording; choose another name"):
        write_frames(second, range(1))
    second.abort()
    write_frames(first, range(5, 10))
    first.close()
    assert len(read_video(out).times) == 10
    assert list(tmp_path.iterdir()) == [out]


def test_two_recordings_that_replace_a_file_grow_apart(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"precious")
    first, second = (VideoSink(out, options=VideoOptions(overwrite=True)) for _ in range(2))
    for start in (0, 5):
        write_frames(first, range(start, start + 5))
        write_frames(second, range(start, start + 3))
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out.part.mp4", "out.part2.mp4"}
    assert out.read_bytes() == b"precious"
    first.close()
    assert len(read_video(out).times) == 10
    second.close()
    assert len(read_video(out).times) == 6
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_that_cannot_be_begun_leaves_nothing(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4")
    with files_end_at(0), pytest.raises(OutputError):
        write_frames(sink, range(50))
        sink.close()
    sink.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_that_cannot_be_finished_is_named(tmp_path: Path, suffix: str) -> None:
    out, unfinished = tmp_path / f"out{suffix}", tmp_path / f"out.part{suffix}"
    out.write_bytes(b"precious")
    sink = VideoSink(out, options=VideoOptions(overwrite=True))
    write_frames(sink, range(50))
    with files_end_at(unfinished.stat().st_size + 20):
        with pytest.raises(OutputError, match="cannot be written any further"):
            sink.close()
        sink.abort()
    assert sink.notes == [f"the old {out.name} is untouched, the new one is {unfinished}"]
    assert out.read_bytes() == b"precious"
    with av.open(str(unfinished)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 20


def test_no_sound_and_other_tracks(tmp_path: Path) -> None:
    silent = write_video(tmp_path / "silent.mp4", 10)
    assert any("no sound" in note for note in record(silent, tmp_path / "a.mp4").notes)
    loud = write_video(tmp_path / "loud.mkv", 25, audio="flac")
    assert record(loud, tmp_path / "b.mp4", audio="none").notes == ()
    assert read_video(tmp_path / "b.mp4").audio == []
    record(loud, tmp_path / "c.mp4", audio="transcode")
    assert read_video(tmp_path / "c.mp4").audio_codec == "aac"
    raw = write_video(tmp_path / "raw.avi", 25, audio="pcm_s16le", codec="mjpeg", pix_fmt="yuvj420p")
    assert any("transcoded" in note for note in record(raw, tmp_path / "d.mp4").notes)
    assert float(read_video(tmp_path / "d.mp4").audio[-1][0]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [(".asf", "wmav2", 44_100), (".avi", "adpcm_ima_wav", 22_050), (".mkv", "pcm_s16le", 192_000)],
)
@pytest.mark.parametrize("out", [".mp4", ".mkv", ".webm"])
def test_any_sound_is_heard(tmp_path: Path, suffix: str, codec: str, rate: int, out: str) -> None:
    """Of codecs whose decoders must know the size of a block, and of rates that AAC does not have."""
    source = tmp_path / f"in{suffix}"
    with av.open(str(source), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(codec, rate=rate)
        sound.codec_context.layout, sound.codec_context.bit_rate = "mono", 96_000
        sound.codec_context.format = sound.codec_context.codec.audio_formats[0]
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(picture(i, 64, 48)).reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        tone = (np.sin(np.arange(2 * rate) * 2 * np.pi * 440 / rate) * 16_000).astype(np.int16)
        whole = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        whole.sample_rate, whole.pts, whole.time_base = rate, 0, Fraction(1, rate)
        size = sound.codec_context.frame_size or 1024
        kind = sound.codec_context.codec.audio_formats[0]
        resampler = av.AudioResampler(format=kind, layout="mono", rate=rate, frame_size=size)
        for part in (whole, None):
            for ready in resampler.resample(part):
                container.mux(sound.encode(ready))
        container.mux(sound.encode(None))
    record(source, tmp_path / f"out{out}")
    with av.open(str(tmp_path / f"out{out}")) as container:
        samples = [frame.to_ndarray().astype(float) for frame in container.decode(audio=0)]
        length = sum(part.shape[-1] for part in samples) / container.streams.audio[0].rate
    assert length == pytest.approx(2, abs=0.15)
    loud = np.sqrt(np.mean(np.concatenate([part.ravel() for part in samples]) ** 2))
    assert loud / (32_768 if loud > 2 else 1) == pytest.approx(0.35, abs=0.05)


@pytest.mark.parametrize("options", [{"end": 1.5}, {"max_frames": 38}])
def test_sound_that_is_stored_behind_its_pictures_is_heard_to_the_end(tmp_path: Path, options: dict[str, Any]) -> None:
    """All of it comes behind all of the pictures, in a file of two seconds."""
    source = write_video(tmp_path / "in.mkv", 50, audio="aac", container_options={"max_interleave_delta": "1"})
    with av.open(str(source)) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    assert kinds.index("audio") >= 49
    record(source, tmp_path / "out.mp4", **options)
    assert float(read_video(tmp_path / "out.mp4").audio[-1][0]) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize(
    ("name", "special"),
    [
        ("/dev/null", True),
        ("/dev/stdout", True),
        ("/dev/fd/1", True),
        ("/proc/self/fd/1", True),
        ("/dev/shm/new.mp4", False),
        ("new.mp4", False),
        ("link-to-stdout", True),
        ("link-to-file", False),
        ("link-to-itself", False),
        ("x" * 300, False),
    ],
)
def test_what_is_written_to_as_it_is(tmp_path: Path, name: str, special: bool) -> None:
    (tmp_path / "link-to-stdout").symlink_to("/dev/stdout")
    (tmp_path / "link-to-file").symlink_to("file")
    (tmp_path / "link-to-itself").symlink_to("link-to-itself")
    assert is_special(tmp_path / name) == special


def test_a_name_that_no_file_can_have_is_refused() -> None:
    for name in ("a\0b.mp4", "x" * 300 + ".mp4"):
        with pytest.raises(OutputError, match="choose another name"):
            OutputFile(name, overwrite=False)


def test_what_a_link_leads_to_is_replaced_and_not_the_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "old.mp4", tmp_path / "link.mp4"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with pytest.raises(OutputError, match="exists"):
        record(write_video(tmp_path / "in.mp4", 5), link)
    assert real.read_bytes() == b"old"
    record(tmp_path / "in.mp4", link, overwrite=True)
    assert link.is_symlink() and len(read_video(real).times) == 5
    assert [file.name for file in (tmp_path / "disk").iterdir()] == ["old.mp4"]


@pytest.mark.parametrize("mode", ["copy", "transcode"])
def test_segments_have_their_sound_though_it_is_stored_a_second_behind(tmp_path: Path, mode: str) -> None:
    """A second of pictures, then a second of sound, and so on."""
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w", container_options={"max_interleave_delta": "1"}) as container:
        video, sound = container.add_stream("mpeg4", rate=25), container.add_stream("aac", rate=48_000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound.codec_context.layout = "mono"
        for second in range(4):
            for i in range(25 * second, 25 * second + 25):
                frame = av.VideoFrame.from_ndarray(picture(i, 64, 48)).reformat(format="yuv420p")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(video.encode(frame))
            for i in range(round(second * 46.875), round((second + 1) * 46.875)):
                noise = np.random.default_rng(i).uniform(-0.3, 0.3, (1, 1024)).astype(np.float32)
                samples = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
                samples.pts, samples.time_base, samples.sample_rate = i * 1024, Fraction(1, 48_000), 48_000
                container.mux(sound.encode(samples))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    summary = record(source, tmp_path / "out.mp4", segment_seconds=1.4, audio=mode)
    ends = [
        (float(part.times[-1]) + 0.04, float(part.audio[-1][0]) + 1024 / 48_000)
        for part in map(read_video, summary.outputs)
    ]
    assert len(ends) == 3 and all(heard == pytest.approx(seen, abs=0.05) for seen, heard in ends)
