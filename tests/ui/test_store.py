"""Settings survive a restart, and a damaged file survives us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from segstream.ui import store
from segstream.ui.state import Settings


def test_settings_come_back(tmp_path: Path) -> None:
    settings = Settings().changed(
        view="split", threshold=0.25, hidden=["Road", "Sky"], recent=["ä b.mp4", "demo"], theme="light", target_fps=20
    )
    assert store.save(settings, tmp_path) is None
    assert store.load(tmp_path) == settings
    assert [path.name for path in tmp_path.iterdir()] == ["viewer.json"]


@pytest.mark.parametrize(
    "content", ["", "{", "[1, 2]", "null", '{"view": 3, "nonsense": 1, "threshold": "high"}', "\x00"]
)
def test_a_damaged_file_gives_the_defaults(tmp_path: Path, content: str) -> None:
    (tmp_path / "viewer.json").write_text(content, encoding="utf-8")
    assert store.load(tmp_path) == Settings()


def test_one_bad_value_does_not_cost_the_others(tmp_path: Path) -> None:
    (tmp_path / "viewer.json").write_text('{"alpha": 7, "view": "mask", "grid": false}', encoding="utf-8")
    settings = store.load(tmp_path)
    assert (settings.alpha, settings.view, settings.grid) == (Settings().alpha, "mask", False)


def test_what_may_hold_passwords_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "viewer.json"
    path.write_text("{}")
    path.chmod(0o644)  # as an earlier version left it
    seen: list[int] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (seen.append(os.stat(old).st_mode & 0o777), replace(old, new)))
    before = os.umask(0)
    try:
        assert store.save(Settings().changed(recent=["rtsp://me:secret@camera/street"]), tmp_path) is None
    finally:
        os.umask(before)
    assert seen == [0o600] and path.stat().st_mode & 0o777 == 0o600
    assert store.load(tmp_path).recent == ("rtsp://me:secret@camera/street",)


def test_nothing_is_left_of_settings_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "viewer.json").mkdir()
    assert "could not be kept" in (store.save(Settings(), tmp_path) or "")
    assert [path.name for path in tmp_path.iterdir()] == ["viewer.json"]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    problem = store.save(Settings(), tmp_path / "file" / "below")
    assert problem is not None and "could not be kept" in problem
