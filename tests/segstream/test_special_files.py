"""What is written to as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from segstream.special_files import is_special


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
