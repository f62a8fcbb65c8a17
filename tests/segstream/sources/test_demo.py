"""The demo: as long as asked for, at its own speed, with its true labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segstream import scenes
from segstream.errors import SourceError, UsageError
from segstream.sources import SourceOptions, open_source


def test_it_moves_at_the_speed_it_is_played_at() -> None:
    """What the drawing takes for a second of driving lasts a second in the video."""
    with open_source("demo:160x96") as source:
        assert source.info.rate == scenes.FPS and source.info.duration == 10
        assert source.info.frames == 10 * scenes.FPS
        source.seek(2.0)
        frame = next(source)
    image, labels = scenes.render(2 * scenes.FPS, 160, 96)
    assert frame.pts_seconds == 2.0
    assert np.array_equal(frame.image, image) and np.array_equal(source.last_labels, labels)


def test_start_end_max_frames_and_loop() -> None:
    def times(**options) -> list[float]:
        with open_source("demo:64x64", SourceOptions(**options)) as source:
            return [frame.pts_seconds for frame in source]

    assert times(start=1.0, end=1.1) == pytest.approx([1, 1 + 1 / 30, 1 + 2 / 30])
    with open_source("demo:64x64", SourceOptions(start=1.0, end=1.1)) as source:
        assert source.info.duration == pytest.approx(1.1)  # the times of its frames run up to here
    assert len(times(max_frames=4)) == 4
    assert len(times(max_frames=4, loop=True)) == 4
    assert times(start=1.01, end=1.07) == pytest.approx([1 + 1 / 30, 1 + 2 / 30])  # none before the start
    assert times(start=1.0, end=1.05, loop=True, max_frames=5) == pytest.approx([1, 1 + 1 / 30, 1, 1 + 1 / 30, 1])
    assert times(start=1.01, end=1.02, loop=True) == []


@pytest.mark.parametrize("loop", [False, True])
def test_frames_that_were_asked_for_can_be_played_again(loop: bool) -> None:
    with open_source("demo:64x64", SourceOptions(max_frames=4, loop=loop)) as source:
        assert len(list(source)) == 4
        source.seek(0.0)
        assert len(list(source)) == 4
        source.seek(2 / scenes.FPS)
        assert len(list(source)) == (4 if loop else 2)
        source.seek(5.0)
        assert len(list(source)) == (4 if loop else 1)


@pytest.mark.parametrize("spec", ["demo:8x8", "demo:99999x99999", "demo:12", "demo:axb"])
def test_sizes_that_cannot_be_drawn(spec: str) -> None:
    with pytest.raises((UsageError, SourceError)) as caught:
        open_source(spec)
    assert "\n" not in str(caught.value)


def test_from_the_command_line_it_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_source("demo").info.name == "demo"
