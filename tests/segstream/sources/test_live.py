"""Live sources: what is known of them. How they fail and come back is in faults/test_live.py."""

from __future__ import annotations

from fractions import Fraction

from segstream.sources import open_source


def test_what_is_known_of_a_live_source() -> None:
    with open_source("lavfi:testsrc2=size=160x96:rate=50:sar=16/11,realtime") as source:
        info = source.info
        assert (info.width, info.height, info.pixel_aspect, info.rotation) == (160, 96, Fraction(16, 11), 0)
        assert info.is_live and not info.seekable and info.rate == 50
