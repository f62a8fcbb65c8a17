"""Recording several sources: what the files are called, and that none lands outside the folder given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import segstream
from segstream.errors import OutputError, SourceError
from segstream.recording import _targets_of, open_lanes
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
