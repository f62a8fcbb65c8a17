"""Settings survive a restart, and a damaged file survives us."""

from __future__ import annotations

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


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    problem = store.save(Settings(), tmp_path / "file" / "below")
    assert problem is not None and "could not be kept" in problem
