"""What the viewer's tests share: results made of arrays, small videos, windows, waiting."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from segstream.frames import Frame, Result

SIZE = (128, 64)  # of the network input: the smallest that has two blocks
RATE = 25


def make_result(height: int = 36, width: int = 64) -> Result:
    """Noise; the left half is road and ran high, the right half is tree and ran low."""
    rng = np.random.default_rng(1)
    labels = np.zeros((height, width), dtype=np.uint8)
    labels[:, width // 2 :] = 1
    return Result(
        frame=Frame(image=rng.integers(0, 256, (height, width, 3), dtype=np.uint8)),
        labels=labels,
        blocks=np.array([[True, False]]),
        block_px=(height, width / 2),
        classes=("road", "tree"),
        palette=np.array([[200, 100, 0], [0, 50, 250]], dtype=np.uint8),
        high_share=0.5,
        gmacs=1.0,
        dense_gmacs=2.0,
    )


def write_video(
    path: Path, frames: int = 50, size: tuple[int, int] = (128, 64), pixel_aspect: Fraction = Fraction(1)
) -> Path:
    """A video whose frame number n is a field of grey 4 * n, so that a picture tells where it is from."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "g": "10", "qp": "4"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        for i in range(frames):
            image = np.full((size[1], size[0], 3), min(255, 4 * i), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tone(seconds: float) -> float:
    """Hertz of the sound of `write_sounding_video` at a time: each half second has a tone of its own."""
    return 500.0 + 300.0 * int(seconds * 2)


def write_sounding_video(path: Path, frames: int = 60) -> Path:
    """The same greys with a sound that tells where it is from, too."""
    rate = 48_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "g": "10", "qp": "4"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        sound = container.add_stream("aac", rate=rate, layout="mono")
        times = np.arange(frames * rate // RATE) / rate
        pitch = 500.0 + 300.0 * np.floor(times * 2)
        wave = (0.5 * np.sin(2 * np.pi * np.cumsum(pitch) / rate)).astype(np.float32)
        for i in range(frames):
            image = np.full((64, 128, 3), min(255, 4 * i), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            container.mux(stream.encode(frame))
            part = wave[i * rate // RATE : (i + 1) * rate // RATE]
            heard = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = rate, i * rate // RATE, Fraction(1, rate)
            container.mux(sound.encode(heard))
        container.mux(stream.encode(None))
        container.mux(sound.encode(None))
    return path


def our_threads() -> list[str]:
    """Names of the threads that are not the test's own."""
    return sorted(t.name for t in threading.enumerate() if t is not threading.main_thread() and "pytest" not in t.name)


def stacks() -> str:
    """Where every thread but this one is."""
    frames = sys._current_frames()
    threads = [t for t in threading.enumerate() if t is not threading.current_thread() and t.ident in frames]
    return "\n".join(f"{t.name}:\n{''.join(traceback.format_stack(frames[t.ident or 0]))}" for t in threads)


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait without an event loop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return bool(condition())
