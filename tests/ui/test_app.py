"""How the viewer starts: the command line over what is remembered, and machines without a display."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segstream.config import Settings as Options
from segstream.ui import app
from segstream.ui.state import Settings
from tests.ui.helpers import SIZE, wait_for

_ROOT = Path(__file__).parents[2]
_DISPLAY = ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
@pytest.mark.parametrize(("display", "words"), [("", "There is no display"), (":7777", "does not answer")])
def test_a_missing_display_is_a_sentence(monkeypatch: pytest.MonkeyPatch, display: str, words: str) -> None:
    for name in _DISPLAY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", display)
    assert words in (app.display_problem() or "")
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    assert app.display_problem() is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_without_a_display_run_says_so_and_goes_on_in_the_terminal() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _DISPLAY}
    command = [sys.executable, "-m", "segstream.cli.main", "run", "-s", "demo:128x64", "-m", "untrained-rn18"]
    run = subprocess.run(
        [*command, "--max-frames", "3", "--size", "128x64", "--device", "cpu"],
        env={**environment, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        cwd=_ROOT,
    )
    assert run.returncode == 0, run.stderr
    assert [line for line in run.stderr.splitlines() if "no display" in line], run.stderr
    assert "Traceback" not in run.stderr


def test_the_command_line_wins_over_what_is_remembered() -> None:
    remembered = Settings().changed(view="mask", threshold=0.3, palette="safe", loop=True)
    settings = app.merged(remembered, Options(view="split", device="cpu", threshold=0.7))
    assert (settings.view, settings.device, settings.threshold) == ("split", "cpu", 0.7)
    assert settings.palette == "safe" and settings.loop


def test_the_window_segments_with_what_only_the_command_line_can_say(home: Path, qtbot: Any) -> None:
    options = Options(model="untrained-rn18", device="cpu", size=SIZE, block=64, steady=0.4, borders=0.7)
    window = app.window_for(options)
    try:
        engine = window.player._engine
        assert wait_for(lambda: engine._segmenter is not None, 20.0)
        segmenter = engine._segmenter
        assert (segmenter.size, segmenter.block) == (SIZE, 64)
        assert (segmenter.steady, segmenter.borders) == (0.4, 0.7)
    finally:
        window.close()
    assert window.closed_in_time
