"""Damaged files: every frame that can be decoded comes, nothing crashes, nothing hangs, and the damage is told."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

import segstream
from segstream.errors import SourceError
from segstream.sources import open_source
from tests.segstream.media import Quick, read_video, write_video

_CONTAINERS = {
    ".mp4": ("libx264", "aac"),
    ".mkv": ("libx264", "aac"),
    ".avi": ("mpeg4", "mp2"),
    ".ts": ("libx264", "aac"),
    ".webm": ("libvpx-vp9", "libopus"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", list(_CONTAINERS))
def test_a_hundred_damaged_variants(tmp_path: Path, suffix: str, child, figure) -> None:
    codec, audio = _CONTAINERS[suffix]
    options = {"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx-vp9" else {}
    whole = write_video(tmp_path / f"whole{suffix}", 25, codec=codec, audio=audio, options=options)
    process = child("damage.py", whole, 100, tmp_path)
    output, errors = process.communicate(timeout=55)
    lines = [json.loads(line) for line in output.splitlines()]
    done = [line for line in lines if "seed" in line]
    assert process.returncode == 0 and len(done) == 100, f"after {lines[-1:]}: {errors[-500:]}"
    lost = [line for line in done if line["delivered"] < line["expected"]]
    assert not lost
    assert all(line["delivered"] or line["complaint"] for line in done)
    assert all("\n" not in line["complaint"] for line in done)
    assert max(line["seconds"] for line in done) < 5
    frames = sum(max(0, line["expected"]) for line in done)
    figure(
        f"100 damaged {suffix}",
        f"{frames} decodable frames, {len(lost)} lost, slowest {max(line['seconds'] for line in done) * 1e3:.0f} ms",
    )


@pytest.mark.parametrize("faststart", [False, True])
def test_cut_off_mp4(tmp_path: Path, faststart: bool) -> None:
    flags = {"movflags": "faststart"} if faststart else {}
    options = {"g": "10", "crf": "5"}
    whole = write_video(tmp_path / "whole.mp4", 50, (320, 192), container_options=flags, options=options)
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    for share in (0.3, 0.6, 0.9):
        cut.write_bytes(data[: int(len(data) * share)])
        if not faststart:  # the index was at the end
            with pytest.raises(SourceError, match="cut off"):
                open_source(cut)
            continue
        expected = read_video(cut)
        summary = segstream.record(str(cut), tmp_path / "out.mp4", model=Quick(), overwrite=True)
        assert summary.frames == len(expected.times) > 0
        assert len(summary.warnings) == 1 and "cut.mp4" in summary.warnings[0]
        assert len(read_video(tmp_path / "out.mp4").times) == summary.frames


def test_timestamps_that_step_back_become_a_file_of_the_right_length(tmp_path: Path) -> None:
    parts = [write_video(tmp_path / f"{i}.ts", 25, audio="aac") for i in range(3)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    for suffix in (".mp4", ".mkv"):
        summary = segstream.record(str(joined), tmp_path / f"out{suffix}", model=Quick())
        after = read_video(tmp_path / f"out{suffix}")
        assert summary.frames == len(after.times) == 75
        assert all(a < b for a, b in zip(after.times, after.times[1:], strict=False))
        assert float(after.times[-1]) == pytest.approx(74 / 25, abs=0.1)
        sound = [time for time, _ in after.audio]
        assert sound == sorted(sound) and float(sound[-1]) == pytest.approx(3.0, abs=0.25)


def test_huge_headers_are_refused_with_a_sentence(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )
    (tmp_path / "huge.png").write_bytes(png)
    bmp = b"BM" + struct.pack("<IHHI", 154, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 30_000, 30_000, 1, 24, *[0] * 6)
    (tmp_path / "huge.bmp").write_bytes(bmp + bytes(100))
    # An MP4 whose header was given another size than its pictures have.
    video = bytearray(write_video(tmp_path / "small.mp4", 3, codec="mpeg4", options={}).read_bytes())
    at = video.index(b"mp4v") + 28
    assert struct.unpack_from(">HH", video, at) == (96, 64)
    struct.pack_into(">HH", video, at, 65_000, 65_000)
    (tmp_path / "huge.mp4").write_bytes(video)
    (tmp_path / "huge.y4m").write_bytes(b"YUV4MPEG2 W100000 H100000 F25:1 Ip C420\nFRAME\n" + bytes(1000))
    for name in ("huge.png", "huge.bmp", "huge.y4m"):
        with pytest.raises(SourceError) as caught:
            open_source(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with open_source(tmp_path / "huge.mp4") as source:  # the pictures themselves say their true size
        assert next(source).image.shape == (64, 96, 3)


def test_one_bad_image_among_many_is_counted(tmp_path: Path) -> None:
    with av.open(str(write_video(tmp_path / "a.mp4", 3))) as container:
        for i, frame in enumerate(container.decode(video=0)):
            frame.save(str(tmp_path / f"{i}.png"))
    (tmp_path / "1b.png").write_bytes(b"no image")
    (tmp_path / "a.mp4").unlink()
    with open_source(tmp_path) as source:
        assert len(list(source)) == 3
        assert source.warnings.errors == 1 and "1b.png" in (source.warnings.summary() or "")
