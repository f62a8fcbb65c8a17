"""Takes pictures of the real window on the demo source: `python -m segstream.ui.screenshots FOLDER [CASE...]`.

`SHOT_MODEL` names another model than the default one. Every case runs in a process of its own with its own X server
(Xvfb must be installed), because the size of the screen and its scale are fixed when Qt starts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from segstream.ui.window import Window

# name: size of the screen in pixels, scale, settings, what is done
CASES: dict[str, tuple[str, str, dict[str, object], str]] = {
    "viewer": ("1280x800", "1", {}, "play"),
    "welcome": (
        "1280x800",
        "1",
        {"recent": ["drive through the town.mp4", "rtsp://camera.example/street", "demo"]},
        "none",
    ),
    "split-light": ("1280x800", "1", {"view": "split", "theme": "light"}, "play"),
    "mask": ("1280x800", "1", {"view": "mask", "panel": False, "palette": "safe"}, "play"),
    "keys": ("1280x800", "1", {}, "keys"),
    "error": ("1280x800", "1", {}, "error"),
    "live": ("1280x800", "1", {}, "live"),
    "zoomed": ("1280x800", "1", {}, "zoom"),
    "viewer-2x": ("2560x1440", "2", {}, "play"),
    "statistics-2x": ("2560x1440", "2", {"view": "split"}, "statistics"),
}
_SECONDS = 3.0  # at least
_RESULTS = 60  # frames before the picture is taken
_PATIENCE = 120.0
_LARGEST = 390_000  # bytes
_KEPT_COLOURS = 144


def main(arguments: list[str]) -> int:
    if len(arguments) == 2 and arguments[0] == "--case":
        return take(arguments[1])
    folder = Path(arguments[0] if arguments else "screenshots")
    wanted = arguments[1:] or list(CASES)
    if shutil.which("xvfb-run") is None:
        print("Xvfb is not installed; apt install xvfb adds it.")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        screen, scale, _, _ = CASES[name]
        command = ["xvfb-run", "-a", "-s", f"-screen 0 {screen}x24", sys.executable, "-m", "segstream.ui.screenshots"]
        environment = {
            **os.environ,
            "QT_QPA_PLATFORM": "xcb",
            "QT_SCALE_FACTOR": scale,
            "SHOT": str(folder / f"{name}.png"),
        }
        done = subprocess.run([*command, "--case", name], env=environment)
        if done.returncode:
            return done.returncode
        shrink(folder / f"{name}.png")
        print(folder / f"{name}.png")
    return 0


def shrink(path: Path) -> None:
    """Bring a picture that is too large for a page to 256 colours, where Pillow is there to do it well."""
    if path.stat().st_size <= _LARGEST:
        return
    try:
        from PIL import Image
    except ImportError:
        return
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    # The colours of flat areas, the window's, stay as they are; those of the street share what is left.
    pixels = np.asarray(image).astype(np.int64) @ (1 << 16, 1 << 8, 1)
    flat = (pixels[:-1, :-1] == pixels[1:, 1:]) & (pixels[:-1, :-1] == pixels[1:, :-1])
    colours, counts = np.unique(pixels[:-1, :-1][flat], return_counts=True)
    colours = colours[np.argsort(-counts)][:_KEPT_COLOURS]
    kept = [int(colour) >> shift & 255 for colour in colours for shift in (16, 8, 0)]
    rest = image.quantize(256 - len(colours), method=Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette((kept + rest)[:768])
    image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def take(name: str) -> int:
    """Take one picture, in a process with a screen of its own."""
    from PyQt6.QtGui import QGuiApplication
    from PyQt6.sip import voidptr

    from segstream.ui.app import leave, make_application, make_window
    from segstream.ui.state import Settings

    _, _, settings, action = CASES[name]
    application = make_application()
    model = {"model": os.environ["SHOT_MODEL"]} if os.environ.get("SHOT_MODEL") else {}
    window = make_window(Settings().changed(**settings, **model), folder=Path(os.environ["SHOT"]).parent / "settings")
    screen = QGuiApplication.primaryScreen()
    if screen is None:
        return 1
    window.setGeometry(screen.geometry())
    window.show()
    _act(window, action)
    start, acted = time.monotonic(), action in ("none", "play", "live", "error")
    results = 0 if action in ("none", "error") else _RESULTS
    while time.monotonic() - start < _SECONDS or (len(window.measurements) < results and _alive(start)):
        application.processEvents()
        time.sleep(0.005)
        if not acted and len(window.measurements) > results // 2:
            acted = True
            _act_late(window, action)
    picture = screen.grabWindow(voidptr(0))
    picture.save(os.environ["SHOT"])
    window.close()
    leave(0)


def _act(window: Window, action: str) -> None:
    if action in ("play", "keys", "zoom", "statistics"):
        window.open("demo")
    elif action == "error":
        window.open("a film that is not there.mp4")
    elif action == "live":
        window.open("lavfi:testsrc2=size=960x544:rate=25,realtime")


def _alive(start: float) -> bool:
    return time.monotonic() - start < _PATIENCE


def _act_late(window: Window, action: str) -> None:
    if action == "keys":
        window.actions_.run("help")
    elif action == "statistics":
        window.actions_.run("statistics")
    elif action == "zoom":
        for _ in range(9):
            window.actions_.run("zoom_in")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
