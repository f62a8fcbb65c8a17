"""How the viewer starts: the command line over what is remembered, and machines without a display."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segstream.config import Settings as Options
from segstream.ui import app, store
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
    options = Options(view="split", device="cpu", threshold=0.7)
    settings = app.merged(remembered, options, {"view", "device", "threshold"})
    assert (settings.view, settings.device, settings.threshold) == ("split", "cpu", 0.7)
    assert settings.palette == "safe" and settings.loop
    other = app.merged(remembered, Options(policy="heuristic"), {"policy"})
    assert (other.policy, other.threshold) == ("heuristic", None)  # 0.3 was another policy's


_TYPED = """
import sys
from PyQt6.QtCore import QTimer
from segstream.cli.main import main
from segstream.ui import app
def tell():
    window = next(w for w in application.topLevelWidgets() if hasattr(w, "player"))
    settings = window.state.settings
    names = ("view", "budget", "device", "grid", "alpha", "loop", "palette")
    print(*(getattr(settings, name) for name in names), flush=True)
    window.close()
application = app.make_application()
QTimer.singleShot(0, tell)
sys.exit(main(["run", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("where", ["typed", "config"])
def test_an_option_that_equals_its_default_wins_too(home: Path, where: str) -> None:
    remembered = Settings().changed(
        view="mask", budget=0.3, device="cuda", grid=False, alpha=0.9, loop=True, palette="safe", model="untrained-rn18"
    )
    assert store.save(remembered, home / "segstream") is None
    arguments = ["--view", "overlay", "--budget", "1", "--device", "auto", "--grid", "--alpha", "0.5", "--no-loop"]
    if where == "config":
        config = home / "run.yaml"
        config.write_text("view: overlay\nbudget: 1\ndevice: auto\ngrid: true\nalpha: 0.5\nloop: false\n")
        arguments = ["--config", str(config)]
    run = subprocess.run(
        [sys.executable, "-c", _TYPED, *arguments],
        env={**os.environ, "XDG_CONFIG_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        cwd=_ROOT,
    )
    assert run.stdout.split() == ["overlay", "1.0", "auto", "True", "0.5", "False", "safe"], run.stderr


def test_a_remembered_device_that_is_not_here_gives_way(home: Path, qtbot: Any) -> None:
    assert store.save(Settings().changed(device="cuda:99", model="untrained-rn18")) is None
    window = app.window_for(Options(size=SIZE))
    try:
        window.open("demo:128x64")
        qtbot.waitUntil(lambda: window.picture.result is not None, timeout=30_000)
        assert window.state.settings.device == window.side.controls.device.currentData() == "auto"
        assert "Automatic takes the place" in window.state.message and "99" in window.state.message
        engine = window.player._engine
        segmenter = engine._segmenter
        qtbot.wait(100)
        assert not engine.busy and engine._segmenter is segmenter  # nothing is loaded twice
    finally:
        window.close()
    assert window.closed_in_time and store.load().device == "auto"


def test_a_device_that_is_asked_for_does_not_give_way(home: Path, qtbot: Any) -> None:
    window = app.window_for(Options(model="untrained-rn18", device="cuda:99", size=SIZE), {"model", "device"})
    try:
        qtbot.waitUntil(lambda: "99" in window.state.message, timeout=30_000)
        assert window.state.message_kind == "error"
        assert window.state.settings.device == "cuda:99" and window.player._engine._segmenter is None
    finally:
        window.close()


def test_the_window_segments_with_what_only_the_command_line_can_say(home: Path, qtbot: Any) -> None:
    options = Options(model="untrained-rn18", device="cpu", size=SIZE, block=64, steady=0.4, borders=0.7)
    window = app.window_for(options, {"model", "device", "size", "block", "steady", "borders"})
    try:
        engine = window.player._engine
        assert wait_for(lambda: engine._segmenter is not None, 20.0)
        segmenter = engine._segmenter
        assert (segmenter.size, segmenter.block) == (SIZE, 64)
        assert (segmenter.steady, segmenter.borders) == (0.4, 0.7)
    finally:
        window.close()
    assert window.closed_in_time
