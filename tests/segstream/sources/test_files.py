"""Files: every frame, its timestamp, upright, whatever the format."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from segstream.errors import SourceError, UsageError
from segstream.sources import Source, SourceOptions, open_source
from tests.segstream.media import picture, read_video, write_video


def times(source) -> list[Fraction]:
    return [frame.pts * frame.time_base for frame in source]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".ts"])
def test_every_frame_with_its_timestamp(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"a{suffix}", 30)
    with open_source(path) as source:
        frames = list(source)
    expected = read_video(path)
    assert [frame.pts * frame.time_base for frame in frames] == expected.times
    assert [frame.index for frame in frames] == list(range(30))
    assert source.state == "ended" or source.state == "closed"
    first = picture(0, 96, 64).astype(int)
    assert np.abs(frames[0].image.astype(int) - first)[:, 12:].mean() < 6


def test_seconds_count_from_the_start_of_a_transport_stream(tmp_path: Path) -> None:
    pts = [90_000 * 5 + 3600 * i for i in range(10)]
    path = write_video(tmp_path / "a.ts", 10, pts=pts, time_base=Fraction(1, 90_000), options={"bf": "0"})
    with open_source(path) as source:
        frames = list(source)
    assert [frame.pts for frame in frames] == pts
    assert [frame.pts_seconds for frame in frames] == pytest.approx([i / 25 for i in range(10)])


def test_variable_frame_rate_and_gaps_are_kept(tmp_path: Path) -> None:
    pts = [0, 300, 4000, 4001, 50_000, 50_400, 900_000]
    path = write_video(tmp_path / "vfr.mkv", len(pts), pts=pts, time_base=Fraction(1, 1000))
    assert times(open_source(path)) == [Fraction(p, 1000) for p in pts]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    path = write_video(tmp_path / "turned.mp4", 2, rotation=degrees)
    with open_source(path) as source:
        image = next(source).image
        assert (source.info.width, source.info.height) == image.shape[1::-1]
    expected = np.rot90(picture(0, 96, 64), degrees // 90).astype(int)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected)[..., :2].mean() < 6


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_pixels_that_are_not_square(tmp_path: Path, suffix: str) -> None:
    wide = {"preset": "ultrafast", "aspect": "16/11"}
    path = write_video(tmp_path / f"wide{suffix}", 3, options=wide)
    with open_source(path) as source:
        assert source.info.pixel_aspect == Fraction(16, 11)
        assert (source.info.width, source.info.height) == (96, 64)  # the pixels themselves are not scaled
    with open_source(write_video(tmp_path / f"square{suffix}", 3)) as source:
        assert source.info.pixel_aspect == 1


@pytest.mark.parametrize(
    ("degrees", "aspect"), [(90, Fraction(11, 16)), (180, Fraction(16, 11)), (270, Fraction(11, 16))]
)
def test_pixels_turn_with_the_picture(tmp_path: Path, degrees: int, aspect: Fraction) -> None:
    wide = {"preset": "ultrafast", "aspect": "16/11"}
    with open_source(write_video(tmp_path / "turned.mp4", 3, rotation=degrees, options=wide)) as source:
        assert source.info.pixel_aspect == aspect


def test_pixels_of_an_absurd_shape_are_taken_for_square() -> None:
    with open_source("lavfi:testsrc2=size=96x64:duration=1:sar=1000") as source:
        assert source.info.pixel_aspect == 1


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "size"),
    [
        ("libx264", "yuvj420p", (96, 64)),
        ("libx264", "yuv420p10le", (96, 64)),
        ("libx264", "gray", (96, 64)),
        ("libx264", "yuv444p", (97, 63)),
        ("libx265", "yuv420p10le", (96, 64)),
        ("ffv1", "yuv420p", (97, 63)),
        ("ffv1", "bgr0", (33, 17)),
        ("ffv1", "gray16le", (64, 48)),
        ("mjpeg", "yuvj422p", (96, 64)),
        ("rawvideo", "rgb24", (97, 63)),
    ],
)
def test_pixel_formats_depths_and_odd_sizes(tmp_path: Path, codec: str, pix_fmt: str, size: tuple[int, int]) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = tmp_path / ("a.nut" if codec == "rawvideo" else "a.mkv")
    write_video(path, 4, size, codec=codec, pix_fmt=pix_fmt, options=options)
    with open_source(path) as source:
        frames = list(source)
    assert len(frames) == 4
    expected = picture(0, *size).astype(int)
    for frame in frames:
        assert frame.image.shape == (size[1], size[0], 3)
        assert frame.image.flags.c_contiguous and frame.image.dtype == np.uint8
    got = frames[0].image.astype(int)
    if "gray" in pix_fmt:
        expected = np.repeat((expected @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
    assert np.abs(got - expected)[:, 12:].mean() < 8


@pytest.mark.parametrize("name", ["a b.mp4", "a:b.mp4", "straße 道路.mp4", "100%d.mp4", "-dash.mp4", "[x]*?.mp4"])
def test_names_with_strange_characters(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / name, 3)
    monkeypatch.chdir(tmp_path)
    assert len(list(open_source(name))) == 3
    assert len(list(open_source(tmp_path / name))) == 3


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    try:
        os.rename(write_video(tmp_path / "a.mp4", 3), path)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with open_source(path) as source:
        assert len(list(source)) == 3
        source.info.name.encode("utf-8")


def test_seek_is_exact_to_the_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 60, options={"g": "25", "bf": "2"})
    with open_source(path) as source:
        assert source.info.seekable and source.info.frames == 60
        for index in (0, 1, 24, 25, 26, 59, 30):
            source.seek(index / 25)
            assert round(next(source).pts_seconds * 25) == index
        source.seek(30 / 25, before=True)
        assert [round(next(source).pts_seconds * 25) for _ in range(3)] == [29, 30, 31]
        source.seek(25 / 25, before=True)
        assert round(next(source).pts_seconds * 25) == 24
        source.seek(99.0)
        assert round(next(source).pts_seconds * 25) == 59
        assert next(source, None) is None


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".avi", "mpeg4")])
def test_start_end_max_frames_and_loop(tmp_path: Path, suffix: str, codec: str) -> None:
    """Also where timestamps count frames, as in AVI."""
    path = write_video(tmp_path / f"a{suffix}", 50, codec=codec, time_base=Fraction(1, 25))

    def indices(**options) -> list[int]:
        with open_source(path, SourceOptions(**options)) as source:
            return [round(frame.pts_seconds * 25) for frame in source]

    assert indices(start=1.0, end=1.2) == [25, 26, 27, 28, 29]
    assert indices(max_frames=3) == [0, 1, 2]
    assert indices(start=0.5, end=1.5) == list(range(13, 38))
    assert indices(start=1.92, loop=True, max_frames=5) == [48, 49, 48, 49, 48]
    assert indices(start=1.0, end=1.05, loop=True, max_frames=5) == [25, 26, 25, 26, 25]
    # Between two frames there is nothing to show, so nothing to show again; beyond the end one starts again.
    assert indices(start=1.01, end=1.03) == indices(start=1.01, end=1.03, loop=True) == []
    with open_source(path, SourceOptions(end=0.2, loop=True)) as source:
        source.seek(1.0)
        assert next(source).pts_seconds == 0


def test_frames_that_were_asked_for_can_be_played_again(tmp_path: Path) -> None:
    """`max_frames` counts from the start, so that a seek neither ends the source nor leads past the last of them."""
    path = write_video(tmp_path / "a.mp4", 50)

    def play(seconds: float | None = None, before: bool = False) -> list[int]:
        if seconds is not None:
            source.seek(seconds, before)
        return [round(frame.pts_seconds * 25) for frame in source]

    for start in (0, 5):
        with open_source(path, SourceOptions(max_frames=10, start=start / 25)) as source:
            last = start + 9
            assert play() == list(range(start, last + 1))
            assert play(start / 25) == list(range(start, last + 1))
            assert play((start + 4) / 25) == list(range(start + 4, last + 1))
            assert play((start + 4) / 25, before=True) == list(range(start + 3, last + 1))
            assert play(last / 25) == play(1.6) == play(99.0) == play(1.6, before=True) == [last]
    with open_source(path, SourceOptions(max_frames=10)) as source:
        assert play(1.6) == [9]  # a place that was not met before is estimated from the rate
        assert play(0.2) == [5, 6, 7, 8, 9]
        source.seek(0.0)
        assert [next(source).index for _ in range(3)] == [6, 7, 8]
        assert play(0.2) == [5, 6, 7, 8, 9]
    with open_source(path, SourceOptions(max_frames=60, loop=True)) as source:
        assert play() == [*range(50), *range(10)]
        assert play(0.0) == [*range(50), *range(10)]  # in a loop the count begins anew


def test_hardware_decoding_falls_back_and_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 3)
    with open_source(path, SourceOptions(hwaccel="cuda")) as source:
        assert len(list(source)) == 3
        if source.info.decoder == "software":
            assert "software decodes" in (source.warnings.summary() or "")


def test_bad_files_are_one_sentence(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("this is no video\n" * 50)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    sound = tmp_path / "sound.mp4"
    write_video(tmp_path / "with.mp4", 25, audio="aac")
    import av

    with av.open(str(tmp_path / "with.mp4")) as given, av.open(str(sound), "w") as made:
        out = made.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(audio=0):
            if packet.size:
                packet.stream = out
                made.mux(packet)
    (tmp_path / "folder").mkdir()
    for path in (text, empty, sound, tmp_path / "missing.mp4", tmp_path / "folder"):
        with pytest.raises(SourceError) as caught:
            open_source(path)
        assert caught.value.exit_code == 3
        assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_specs_that_mean_nothing(tmp_path: Path) -> None:
    for spec in ("", "foo://x", "demo:12", None, True):
        with pytest.raises(UsageError):
            open_source(spec)  # type: ignore[arg-type]
    for wrong in (
        {"live": "never"},
        {"read_timeout": 0},
        {"max_frames": 0},
        {"max_frames": 2.5},
        {"start": 2.0, "end": 1.0},
        {"start": "1"},
        {"start": float("nan")},
        {"image_rate": None},
    ):
        with pytest.raises(UsageError):
            SourceOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="nothing matches"):
        open_source(str(tmp_path / "*.mp4"))


def test_a_start_beyond_the_end_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", 10)  # 25 a second: the last frame is at 0.36 s
    with open_source(path, SourceOptions(start=0.36)) as source:
        assert len(list(source)) == 1
    with pytest.raises(SourceError, match=r"film.mp4 ends at 0.36 s, before --start 0.4"):
        open_source(path, SourceOptions(start=0.4))


def test_a_graph_of_filters_cannot_be_positioned() -> None:
    with open_source("lavfi:testsrc=size=64x48:rate=10:duration=0.5") as source:
        assert not source.info.seekable and len(list(source)) == 5


def test_a_raw_stream_cannot_be_positioned(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", 10)
    with av.open(str(tmp_path / "a.mkv")) as film, av.open(str(tmp_path / "a.h264"), "w", format="h264") as raw:
        stream = raw.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.pts is not None:
                packet.stream = stream
                raw.mux_one(packet)
    with open_source(tmp_path / "a.h264") as source:
        assert not source.info.seekable and len(list(source)) == 10
    with pytest.raises(SourceError, match="cannot be positioned, and so not played again"):
        open_source(tmp_path / "a.h264", SourceOptions(loop=True))


def test_what_comes_through_a_pipe_is_read_on_to_its_start_and_not_again(tmp_path: Path) -> None:
    pipe, data = tmp_path / "pipe", write_video(tmp_path / "a.mkv", 50).read_bytes()

    def opened(**options) -> Source:
        os.mkfifo(pipe)
        threading.Thread(target=feed_pipe, daemon=True).start()
        return open_source(pipe, SourceOptions(**options))

    def feed_pipe() -> None:
        with suppress(BrokenPipeError):
            pipe.write_bytes(data)

    with opened(start=1.2) as source:
        assert not source.info.seekable
        assert [round(frame.pts_seconds * 25) for frame in source] == list(range(30, 50))
    pipe.unlink()
    with pytest.raises(SourceError, match="before --start 9"):
        opened(start=9.0)
    pipe.unlink()
    with pytest.raises(SourceError, match="not played again; leave out loop"):
        opened(loop=True)
