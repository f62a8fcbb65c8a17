"""Configuration files: the same names as the command line, and clear answers to mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from segstream.config import Settings, read_config
from segstream.errors import UsageError

KNOWN = {"policy", "target_fps", "source", "size"}


def test_hyphens_and_underscores_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("target-fps: 25\npolicy: high\nsource: [a.mp4, 0]\n")
    assert read_config(path, KNOWN) == {"target_fps": 25, "policy": "high", "source": ["a.mp4", 0]}
    path.write_text("")
    assert read_config(path, KNOWN) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("polcy: high", "did you mean 'policy'"),
        ("xyzzy: 1", "the names are"),
        ("- a\n- b", "holds a list"),
        ("just text", "holds a str"),
        ("a: [1, 2", "not YAML at line"),
        ("policy: !!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_config(path, KNOWN)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / "nowhere.yaml", KNOWN)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UsageError, match="not YAML"):
        read_config(tmp_path / "binary.yaml", KNOWN)


def test_settings_make_a_segmenter_in_the_colours_asked_for() -> None:
    from segstream.palettes import palette

    settings = Settings(model="untrained-rn18", policy="low", palette="safe", device="cpu", size=(96, 64))
    with settings.make_segmenter() as segmenter:
        assert segmenter.policy == "low"
        assert (segmenter.spec.palette == palette("safe", segmenter.spec.classes)).all()
    assert settings.draw_options().view == "overlay"
