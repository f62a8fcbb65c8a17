"""The fault suite: real parts that fail. Its figures are printed at the end of the run.

`python tests/segstream/faults/report.py` runs all of it; the ordinary test run leaves out what is marked slow.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"
_figures: dict[str, str] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("fault suite")
        width = max(map(len, _figures))
        for name, value in _figures.items():
            terminalreporter.write_line(f"{name:<{width}}  {value}")


@pytest.fixture
def figure() -> Callable[[str, str], None]:
    """Keeps a figure for the table at the end of the run."""
    return _figures.__setitem__


@pytest.fixture(autouse=True)
def _ends_in_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every case ends within the seconds it states by `@pytest.mark.timeout`, or 30."""
    marker = request.node.get_closest_marker("timeout")
    limit = marker.args[0] if marker else 30
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < limit


class RtspServer:
    """The server of rtsp_server.py on a port of its own; may be stopped and started again."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"rtsp://127.0.0.1:{self.port}/test"
        self._process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> None:
        command = [SYSTEM_PYTHON, str(HERE / "rtsp_server.py"), str(self.port), *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "ready"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def rtsp() -> Iterator[RtspServer]:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True).returncode:
        pytest.skip("needs gir1.2-gst-rtsp-server-1.0, python3-gi and gstreamer1.0-plugins-{base,good,bad,ugly}")
    server = RtspServer()
    yield server
    server.stop()


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a script of this folder in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(HERE / script), *map(str, arguments)]
        process = subprocess.Popen(  # type: ignore[call-overload]
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
