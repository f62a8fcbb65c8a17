"""The complaints of decoders about damage that they conceal."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segstream.sources import open_source
from tests.segstream.media import write_video


def damaged(path: Path, codec: str) -> Path:
    """A video with bytes struck at random, not in its first part, so that it can be opened."""
    write_video(path, 50, (192, 128), codec=codec, options={"g": "50"})
    data = bytearray(path.read_bytes())
    struck = np.random.default_rng(0).integers(len(data) // 3, len(data) * 9 // 10, 40)
    for at in struck:
        data[at] ^= 0xFF
    path.write_bytes(bytes(data))
    return path


def test_a_source_hears_of_its_damage_though_another_looks_first(tmp_path: Path) -> None:
    one, two = damaged(tmp_path / "one.mkv", "libx264"), damaged(tmp_path / "two.avi", "mpeg4")
    for path, other in ((one, two), (two, one)):
        with open_source(path) as source:
            source.seek(1.6)
            assert next(source)
            alone = source.warnings.corrupt
        assert alone > 0
        with open_source(path) as source, open_source(other) as another:
            source.seek(1.6)  # decodes everything up to there, as threads of several sources do at the same time
            assert next(another) and next(source)
            assert source.warnings.corrupt == alone


def test_a_source_hears_nothing_of_one_before_it(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", 10)
    with open_source("lavfi:testsrc2=duration=1"):  # keeps the log open
        with open_source(damaged(tmp_path / "one.mkv", "libx264")) as source:
            source.seek(1.6)
        with open_source(whole) as source:
            assert len(list(source)) == 10 and source.warnings.summary() is None
