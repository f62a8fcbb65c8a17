"""Output files: never at the cost of an old file, of another recording's, or of what a link leads to."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

import segstream
from segstream.errors import OutputError
from segstream.sinks import VideoOptions, VideoSink
from segstream.sinks.base import OutputFile
from tests.segstream.media import Quick, read_video, write_video
from tests.segstream.sinks.helpers import record, write_frames


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
