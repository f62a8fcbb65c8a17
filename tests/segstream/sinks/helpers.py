"""What the tests of several sinks share: a recording without a network, and frames for a sink."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import segstream
from segstream.frames import Frame
from segstream.pipeline import DrawOptions
from segstream.sinks import VideoSink
from tests.segstream.media import Quick, picture

PLAIN = DrawOptions(view="source", grid=False)


def record(source: Path, out: Path, **options):
    return segstream.record(str(source), out, model=Quick(), draw=PLAIN, **options)


def write_frames(sink: VideoSink, indices: range) -> None:
    for index in indices:
        image = picture(index, 96, 64)
        frame = Frame(image=image, index=index, pts=index, time_base=Fraction(1, 25), pts_seconds=index / 25)
        sink.write(Quick()(frame), image)
