"""Recording several sources: what the files are called, and that none lands outside the folder given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segstream
from segstream.errors import OutputError, SourceError, UsageError
from segstream.recording import _targets_of, open_lanes, record_lanes
from segstream.sources import open_source
from tests.segstream.media import Quick, read_video, write_video


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..",
        "...",
        "/etc/passwd",
        "rtsp://host/../../x",
        "http://host/a/..%2f..%2fb.mp4?...",
        "a\\..\\b.mp4",
        "\n\0.mp4",
        "",
        ".hidden",
        "ünï cödé.mp4",
    ],
)
def test_names_never_leave_the_folder(tmp_path: Path, name: str) -> None:
    source = open_source("demo:64x64")
    source.info = replace(source.info, name=name)
    used: set[str] = set()
    for number in range(3):
        targets = _targets_of(source, (tmp_path, tmp_path, tmp_path), used)
        for target in targets:
            assert target.parent == tmp_path and target.resolve().parent == tmp_path.resolve()
            assert not target.name.startswith(".") and target.name.isprintable()
        assert len(used) == number + 1  # one name for each source, however they are called


def test_a_mistake_in_the_second_source_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", 4)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(SourceError, match=r"missing\.mp4"):
        open_lanes([str(film), str(tmp_path / "missing.mp4")], out, save_masks=out, save_jsonl=out)
    assert list(out.iterdir()) == []
    with pytest.raises(OutputError, match="must be a folder"):
        open_lanes([str(film), str(film)], tmp_path / "no")
    summary = segstream.record([str(film), str(film)], out, model=Quick(), save_jsonl=out)
    assert sorted(path.name for path in out.iterdir()) == ["film-2.jsonl", "film-2.mp4", "film.jsonl", "film.mp4"]
    assert summary.frames == 8 and len(read_video(out / "film-2.mp4").times) == 4


def test_a_source_is_never_written_onto(tmp_path: Path) -> None:
    film, other = write_video(tmp_path / "film.mp4", 4), write_video(tmp_path / "other.mp4", 4)
    before = film.read_bytes(), other.read_bytes()
    (tmp_path / "link.mp4").symlink_to(film)
    (tmp_path / "hard.mp4").hardlink_to(film)
    for out in ("film.mp4", "link.mp4", "hard.mp4"):
        with pytest.raises(OutputError, match="is a source of this recording"):
            segstream.record(film, tmp_path / out, model=Quick(), overwrite=True)
    with pytest.raises(OutputError, match="is a source"):
        segstream.record(film, save_jsonl=film, model=Quick(), overwrite=True)
    with pytest.raises(OutputError, match="is a source"):
        segstream.record([str(film), str(other)], tmp_path, model=Quick(), overwrite=True)
    part = film.rename(tmp_path / "new-000.mp4")
    for option in ({"segment_seconds": 1.0}, {"on_resize": "split"}):
        with pytest.raises(OutputError, match="would have its name"):
            segstream.record(part, tmp_path / "new.mp4", model=Quick(), overwrite=True, **option)
    film = part.rename(film)
    assert (film.read_bytes(), other.read_bytes()) == before
    assert segstream.record(film, tmp_path / "new.mp4", model=Quick()).frames == 4


def test_a_link_to_a_part_is_never_written_onto(tmp_path: Path) -> None:
    part = write_video(tmp_path / "cam-005.mp4", 4)
    (tmp_path / "latest.mp4").symlink_to(part.name)
    (tmp_path / "other.mp4").symlink_to("latest.mp4")
    for source in ("latest.mp4", "other.mp4"):
        with pytest.raises(OutputError, match=r"cam-005.mp4 is a source, and a part of .*cam.mp4 would have its name"):
            segstream.record(tmp_path / source, tmp_path / "cam.mp4", model=Quick(), segment_seconds=1.0)
    assert segstream.record(tmp_path / "latest.mp4", tmp_path / "cam.mp4", model=Quick()).frames == 4


def test_a_source_given_as_a_url_is_never_written_onto(tmp_path: Path) -> None:
    film = write_video(tmp_path / "fïlm-000.mp4", 4)
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(photos / "000000.png")
    before = film.read_bytes(), (photos / "000000.png").read_bytes()
    for url in (f"file://{film}", film.as_uri(), film.as_uri().replace("file://", "FILE://localhost")):
        with pytest.raises(OutputError, match="is a source of this recording"):
            segstream.record(url, film, model=Quick(), overwrite=True)
        with pytest.raises(OutputError, match="is a source of this recording"):
            segstream.record([url, "demo:64x64"], tmp_path, model=Quick(), overwrite=True, max_frames=2)
        with pytest.raises(OutputError, match="would have its name"):
            segstream.record(url, tmp_path / "fïlm.mp4", model=Quick(), overwrite=True, segment_seconds=1.0)
    for url in (photos.as_uri(), f"file://{photos}/*.png", (photos / "000000.png").as_uri()):
        with pytest.raises(OutputError, match="holds images that are read"):
            segstream.record(url, save_masks=photos, model=Quick(), overwrite=True)
    assert (film.read_bytes(), (photos / "000000.png").read_bytes()) == before
    assert segstream.record(film.as_uri(), tmp_path / "out.mp4", model=Quick()).frames == 4


@pytest.mark.parametrize("rate", [0, -5, float("nan")])
def test_a_target_rate_that_cannot_be_leaves_nothing_behind(tmp_path: Path, rate: float) -> None:
    film = write_video(tmp_path / "film.mp4", 4)
    with pytest.raises(UsageError, match="target_fps must be greater than 0"):
        segstream.record(film, save_jsonl=tmp_path / "a.jsonl", model=Quick(), target_fps=rate)
    with pytest.raises(UsageError, match="target_fps"):  # told before the source is looked for
        segstream.record(tmp_path / "missing.mp4", tmp_path / "out.mp4", model=Quick(), target_fps=rate)
    lanes = open_lanes(str(film), None, save_jsonl=tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match="target_fps"):
        record_lanes(lanes, Quick(), target_fps=rate)
    assert lanes[0].source.state == "closed"
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_watcher_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", 4)
    lanes = open_lanes(str(film), None, save_jsonl=tmp_path / "a.jsonl")

    def watch(_: object) -> None:
        raise RuntimeError("no terminal")

    with pytest.raises(RuntimeError, match="no terminal"):
        record_lanes(lanes, Quick(), on_start=watch)
    assert lanes[0].source.state == "closed"
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_masks_are_never_written_onto_the_images_they_are_made_of(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("000000.png", "000001.png"):
        Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(photos / name)
    before = (photos / "000000.png").read_bytes()
    for spec in (str(photos), str(photos / "*.png"), [photos / "000000.png"], str(photos / "000001.png")):
        with pytest.raises(OutputError, match="holds images that are read"):
            segstream.record(spec, save_masks=photos, model=Quick(), overwrite=True)
    assert (photos / "000000.png").read_bytes() == before
    assert segstream.record(str(photos), save_masks=tmp_path / "masks", model=Quick()).frames == 2


@pytest.mark.parametrize("options", [{"start": 0.41, "end": 0.43}, {"start": 0.41, "end": 0.43, "loop": True}])
def test_a_recording_of_nothing_is_an_error(tmp_path: Path, options: dict[str, float]) -> None:
    source = write_video(tmp_path / "in.mp4", 25)
    with pytest.raises(SourceError, match=r"no frame came from in\.mp4, so nothing was written"):
        segstream.record(str(source), tmp_path / "out.mp4", model=Quick(), **options)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("other", ["save_masks", "save_jsonl"])
def test_one_name_for_two_outputs_is_refused_however_it_is_written(tmp_path: Path, other: str) -> None:
    source = write_video(tmp_path / "in.mp4", 5)
    (tmp_path / "x").mkdir()
    with pytest.raises(UsageError, match="at once; give two names"):
        same = tmp_path / "x" / ".." / "out.mp4"
        segstream.record(str(source), tmp_path / "out.mp4", model=Quick(), **{other: same})


def test_options_that_have_nothing_to_act_on_are_told(tmp_path: Path) -> None:
    source = str(write_video(tmp_path / "in.mp4", 3))
    lines = segstream.record(source, save_jsonl=tmp_path / "a.jsonl", model=Quick(), crf=20, segment_seconds=2)
    assert len(lines.notes) == 1 and "are for a video, and none is written" in lines.notes[0]
    video = segstream.record(source, tmp_path / "out.mp4", model=Quick(), crf=20, rle=True)
    assert "rle is for save_jsonl" in video.notes[-1]
