"""What a spec stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from segstream.errors import SourceError
from segstream.sources import open_source
from segstream.sources.spec import local_path
from tests.segstream.media import write_video


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("file:///films/a%20b.mp4", "/films/a b.mp4"),
        ("FILE:///films/a.mp4", "/films/a.mp4"),
        ("file://localhost/films/a.mp4", "/films/a.mp4"),
        ("file:///films/stra%C3%9Fe.mp4", "/films/straße.mp4"),
        ("file:///films/straße.mp4", "/films/straße.mp4"),
        ("file:///films/caf%E9.mp4", os.fsdecode(b"/films/caf\xe9.mp4")),
        ("file:///films/what?#1.mp4", "/films/what?#1.mp4"),
        ("file:///films/100%d.mp4", "/films/100%d.mp4"),  # no escape
        ("file://a.mp4", "a.mp4"),
        ("/films/a%20b.mp4", "/films/a%20b.mp4"),
        ("http://host/a%20b.mp4", "http://host/a%20b.mp4"),
        ("demo", "demo"),
    ],
)
def test_the_path_of_a_file_url(spec: str, path: str) -> None:
    assert local_path(spec) == path


def test_escapes_are_decoded_in_urls_and_nowhere_else(tmp_path: Path) -> None:
    write_video(tmp_path / "a b.mp4", 3)
    write_video(tmp_path / "a%20b.mp4", 5)
    with open_source(f"file://{tmp_path}/a%20b.mp4") as source:
        assert len(list(source)) == 3 and source.info.name == "a b.mp4"
    with open_source(f"{tmp_path}/a%20b.mp4") as source:
        assert len(list(source)) == 5
    assert (tmp_path / "a b.mp4").as_uri().endswith("a%20b.mp4")
    with pytest.raises(SourceError, match="does not exist"):
        open_source(f"file://{tmp_path}/a%00b.mp4")
