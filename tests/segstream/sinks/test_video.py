"""Annotated videos: the source's timestamps, pictures and codecs, in any container."""

from __future__ import annotations

import os
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import segstream
from segstream.errors import OutputError, UsageError
from segstream.pipeline import DrawOptions, Lane
from segstream.recording import record_lanes
from segstream.sinks import VideoOptions, VideoSink
from segstream.sources import SourceOptions, open_source
from tests.segstream.media import Quick, files_end_at, picture, read_video, write_video
from tests.segstream.sinks.helpers import PLAIN, record, write_frames


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
