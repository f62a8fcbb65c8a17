"""Frames on their way into the pipeline: copied to the memory that the engine offers, and what stays where it is."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import segstream
from segstream.errors import SourceError, UsageError
from segstream.feed import Feed
from segstream.frames import Frame
from segstream.pipeline import DrawOptions, Pipeline
from segstream.sources import SourceOptions, open_source
from segstream.sources.files import FileSource
from tests.segstream.media import Quick, write_video

FRAMES = 6


class Offered:
    """Ordinary memory that is counted."""

    def __init__(self) -> None:
        self.arrays: list[NDArray[np.uint8]] = []

    def __call__(self, height: int, width: int) -> NDArray[np.uint8]:
        self.arrays.append(np.empty((height, width, 3), np.uint8))
        return self.arrays[-1]

    def holds(self, frame: Frame) -> bool:
        return any(array is frame.image for array in self.arrays)


class QuickWithMemory(Quick):
    """A segmenter that offers memory for frames."""

    def __init__(self, milliseconds: float) -> None:
        super().__init__(milliseconds)
        self.frame_memory = Offered()


def until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def take_all(feed: Feed) -> list[Frame]:
    frames: list[Frame] = []
    end = time.monotonic() + 10
    while not feed.ended:
        assert time.monotonic() < end
        fed = feed.try_take()
        if fed is not None:
            frames.append(fed.frame)
    feed.stop()
    return frames


CLIPS = {
    "plain": {},
    "quarter turn": {"rotation": 90},
    "half turn": {"rotation": 180},
    "odd": {"size": (75, 51), "pix_fmt": "yuv444p"},
    "grey": {"codec": "ffv1", "pix_fmt": "gray", "size": (70, 50)},
    "10 bit": {"codec": "ffv1", "pix_fmt": "yuv420p10le", "size": (98, 66)},
    "alpha": {"codec": "ffv1", "pix_fmt": "bgra", "size": (98, 66)},
}


@pytest.mark.parametrize("clip", CLIPS)
def test_frames_are_the_arrays_offered_and_hold_the_same(tmp_path: Path, clip: str) -> None:
    path = write_video(tmp_path / "in.mkv" if "codec" in CLIPS[clip] else tmp_path / "in.mp4", FRAMES, **CLIPS[clip])
    with open_source(path) as source:
        plain = list(source)
    memory = Offered()
    feed = Feed(open_source(path), threading.Event(), size=2 * FRAMES, memory=memory)
    feed.start()
    until(lambda: len(memory.arrays) == len(plain))
    frames = take_all(feed)
    assert len(frames) == len(plain) == FRAMES
    for frame, expected, array in zip(frames, plain, memory.arrays, strict=True):
        assert frame.image is array and array.flags.c_contiguous
        assert np.array_equal(array, expected.image)
        assert (frame.index, frame.pts, frame.time_base, frame.pts_seconds, frame.source) == (
            expected.index,
            expected.pts,
            expected.time_base,
            expected.pts_seconds,
            expected.source,
        )


def test_images_and_the_demo_too(tmp_path: Path) -> None:
    for name, grey in (("a.png", 10), ("b.png", 200)):
        Image.fromarray(np.full((30, 41, 3), grey, np.uint8)).save(tmp_path / name)
    for spec, count in ((tmp_path, 2), ("demo:64x48", 3)):
        with open_source(spec, SourceOptions(max_frames=count)) as source:
            plain = [frame.image for frame in source]
        memory = Offered()
        feed = Feed(open_source(spec, SourceOptions(max_frames=count)), threading.Event(), size=9, memory=memory)
        feed.start()
        until(lambda memory=memory, count=count: len(memory.arrays) == count)
        frames = take_all(feed)
        assert all(frame.image is array for frame, array in zip(frames, memory.arrays, strict=True))
        assert all(np.array_equal(a, b) for a, b in zip(plain, memory.arrays, strict=True))


def test_nothing_more_comes_of_a_source_that_failed(tmp_path: Path) -> None:
    class Breaks(FileSource):
        def __next__(self) -> Frame:
            if self._delivered == 2:
                raise SourceError("it broke")
            return super().__next__()

    path = write_video(tmp_path / "a.mp4", 5, (64, 48))
    feed = Feed(Breaks(str(path), "a.mp4", SourceOptions()), threading.Event())
    feed.start()
    with pytest.raises(SourceError, match="it broke"):
        take_all(feed)
    feed.seek(0.0)
    assert feed.ended and feed.try_take() is None  # and not on its way for ever
    feed.stop()


def test_a_frame_that_is_waited_for_is_not_copied(tmp_path: Path) -> None:
    memory = Offered()
    feed = Feed(open_source(write_video(tmp_path / "in.mp4", 30)), threading.Event(), size=3, memory=memory)
    assert feed.try_take() is None  # before anything is read
    feed.start()
    until(lambda: len(feed._ready) == 3)
    assert not memory.arrays
    first = feed.try_take()
    assert first is not None and not memory.holds(first.frame)
    until(lambda: len(feed._ready) == 3)  # one more was read meanwhile, for which nobody waited
    assert len(memory.arrays) == 1
    frames = take_all(feed)
    assert len(frames) == 29 and sum(memory.holds(frame) for frame in frames) == len(memory.arrays)


@pytest.mark.parametrize("refused", [False, True])
def test_without_memory_frames_stay_where_they_are(tmp_path: Path, refused: bool) -> None:
    asked: list[tuple[int, int]] = []

    def memory(height: int, width: int) -> None:
        asked.append((height, width))
        if refused:
            raise UsageError("frames of this size cannot be segmented")

    path = write_video(tmp_path / "in.mp4", FRAMES)
    with open_source(path) as source:
        plain = [frame.image for frame in source]
    feed = Feed(open_source(path), threading.Event(), size=9, memory=memory)
    feed.start()
    until(lambda: len(asked) == FRAMES)
    assert all(np.array_equal(a.image, b) for a, b in zip(take_all(feed), plain, strict=True))
    assert set(asked) == {(64, 96)}


@pytest.mark.parametrize("view", ["overlay", "mask", "split", "source"])
def test_a_pipeline_offers_its_segmenters_memory_and_leaves_frames_alone(tmp_path: Path, view: str) -> None:
    path = write_video(tmp_path / "in.mp4", 20)
    with open_source(path) as source:
        plain = [frame.image for frame in source]
    segmenter, frames = QuickWithMemory(10), []
    Pipeline(
        open_source(path),
        segmenter,
        draw=DrawOptions(view=view, legend=True, stats=True),
        on_result=lambda result, picture, lane: frames.append(result.frame),
    ).run()
    assert all(np.array_equal(frame.image, expected) for frame, expected in zip(frames, plain, strict=True))
    assert sum(segmenter.frame_memory.holds(frame) for frame in frames) >= 10


def test_a_stream_offers_its_segmenters_memory(tmp_path: Path) -> None:
    path = write_video(tmp_path / "in.mp4", 20)
    segmenter = QuickWithMemory(10)
    frames = [result.frame for result in segstream.stream(path, model=segmenter)]
    assert len(frames) == 20 and sum(segmenter.frame_memory.holds(frame) for frame in frames) >= 10
