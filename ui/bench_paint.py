"""What one frame costs the window's thread: `python -m segstream.ui.bench_paint`.

Paints a 1280x720 overlay with its block grid at 1:1 into a real window and prints the median and the 95th percentile of
what the window's thread spends on one new frame: taking the result, asking for the picture, taking it, painting it.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np
from numpy.typing import NDArray

from segstream.frames import Frame, Result

BAR_MS = 8.0


def busy_result(width: int = 1280, height: int = 720, block: int = 64, seed: int = 0) -> Result:
    """A frame of noise with every other block high: the most lines and the least even pixels there can be."""
    rng = np.random.default_rng(seed)
    rows, columns = -(-height // block), -(-width // block)
    palette = rng.integers(0, 256, (19, 3), dtype=np.uint8)
    return Result(
        frame=Frame(image=rng.integers(0, 256, (height, width, 3), dtype=np.uint8)),
        labels=rng.integers(0, 19, (height, width), dtype=np.uint8),
        blocks=np.indices((rows, columns)).sum(0) % 2 == 0,
        block_px=(float(block), float(block)),
        classes=tuple(f"class {i}" for i in range(19)),
        palette=palette,
        high_share=0.5,
        gmacs=10.0,
        dense_gmacs=20.0,
        timings={"policy": 1.0, "network": 10.0},
    )


def measure(frames: int = 120, view: str = "overlay") -> NDArray[np.float64]:
    """Milliseconds of the window's thread for new frames: [frames, 2], by the clock and of the processor."""
    from PyQt6.QtWidgets import QApplication

    from segstream.ui.bridge import Bridge
    from segstream.ui.compose import Look
    from segstream.ui.picture import PictureView

    application = QApplication.instance() or QApplication(sys.argv[:1])
    results = [busy_result(seed=seed) for seed in range(4)]
    bridge = Bridge()
    picture = PictureView(bridge)
    picture.set_look(Look(view=view))
    picture.resize(1280, 720)
    picture.show()
    application.processEvents()
    painted: list[Result] = []
    picture.shown.connect(painted.append)
    times = []
    for i in range(frames):
        painted.clear()
        start = _now()
        picture.show_result(results[i % len(results)])
        spent = _now() - start
        while not painted:
            time.sleep(0.004)  # the painter's thread works; the window's is free
            start = _now()
            application.processEvents()
            spent += _now() - start
        times.append(spent * 1000)
    picture.close()
    picture.close_threads()
    bridge.close()
    return np.array(times)


def _now() -> NDArray[np.float64]:
    return np.array([time.perf_counter(), time.thread_time()])


def main() -> int:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    good = True
    for view in ("overlay", "split"):
        clock, processor = measure(view=view)[5:].T
        good &= bool(np.median(clock) <= BAR_MS)
        print(
            f"1280x720 {view} with grid: {np.median(clock):.2f} ms of the window's thread per frame (median of "
            f"{len(clock)}; 95 %: {np.percentile(clock, 95):.2f} ms; processor time {np.median(processor):.2f} ms, "
            f"95 %: {np.percentile(processor, 95):.2f} ms; bar: {BAR_MS:g} ms)"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
