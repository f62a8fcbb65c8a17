"""Live sources: what is known of them. How they fail and come back is in faults/test_live.py."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction

from segstream.sources import SourceOptions, open_source

CAMERA = "lavfi:testsrc2=size=160x96:rate=50,realtime"


def test_what_is_known_of_a_live_source() -> None:
    with open_source("lavfi:testsrc2=size=160x96:rate=50:sar=16/11,realtime") as source:
        info = source.info
        assert (info.width, info.height, info.pixel_aspect, info.rotation) == (160, 96, Fraction(16, 11), 0)
        assert info.is_live and not info.seekable and info.rate == 50


def test_a_busy_consumer_of_all_frames_is_no_lost_camera() -> None:
    with open_source(CAMERA, SourceOptions(live="all", read_timeout=0.5, reconnect=0)) as source:
        times = [next(source).pts_seconds]
        time.sleep(1.0)
        times += [frame.pts_seconds for frame in itertools.islice(source, 20)]
        assert source.reconnects == 0 and source.warnings.summary() is None
    assert [round(at * 50) for at in times] == list(range(21))
