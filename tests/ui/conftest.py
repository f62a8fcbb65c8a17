"""A real window on a real pipeline with the smallest network, its settings and its files in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ui.helpers import SIZE, our_threads, stacks, wait_for, write_video

pytest.importorskip("PyQt6")

_warm = False


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """The networks here are too small to share out, and threads that wait for each other are slow on a busy machine."""
    import torch

    from segstream.segmenter import Segmenter

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    global _warm
    if not _warm:  # the first network imports much of torch: seconds on a busy machine, which no test is to time
        Segmenter("untrained-rn18", device="cpu", policy="high", size=SIZE).close()
        _warm = True
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of grey that grows lighter."""
    return write_video(tmp_path_factory.mktemp("video") / "grey.mp4")


@pytest.fixture(scope="session")
def short_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of it."""
    return write_video(tmp_path_factory.mktemp("video") / "short grey.mp4", frames=12)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own, for what the viewer saves."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_PICTURES_DIR", "XDG_VIDEOS_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def make_window(qtbot: Any, home: Path) -> Iterator[Callable[..., Any]]:
    """Makes windows, and fails the test if one leaves a thread behind."""
    from segstream.ui.app import make_window as make
    from segstream.ui.engine import Fixed
    from segstream.ui.state import Settings

    before = our_threads()
    windows: list[Any] = []

    def new(source_options: Any = None, **settings: Any) -> Any:
        settings = {"model": "untrained-rn18", "device": "cpu", **settings}
        windows[:] = [window for window in windows if not window.closed]
        window = make(Settings().changed(**settings), source_options, Fixed(size=SIZE), home)
        windows.append(window)
        window.resize(1000, 640)
        window.show()
        qtbot.waitExposed(window)
        return window

    yield new
    for window in windows:
        if not window.closed:
            window.close()
        assert window.closed_in_time, f"not in time: {stacks()}"
    assert wait_for(lambda: our_threads() == before, 2.0), f"threads left: {stacks()}"
