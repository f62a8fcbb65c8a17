"""The tap of a source's sound."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from segstream.sources.audio import audio_tap
from tests.segstream.media import write_video


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_the_template_outlives_the_container(ending: str, tmp_path: Path) -> None:
    """A live source replaces its container when it reconnects; a file opened then must not read freed memory."""
    path = write_video(tmp_path / f"tone.{ending}", audio="aac")
    container = av.open(str(path))
    tap = audio_tap(container)
    assert tap is not None and tap.template is not None
    rate = tap.stream.codec_context.sample_rate
    packets = [packet for packet in container.demux(audio=0) if packet.pts is not None]
    container.close()
    with av.open(str(tmp_path / "out.mkv"), "w") as out:
        stream = out.add_stream_from_template(tap.template)
        for packet in packets:
            packet.stream = stream
            out.mux_one(packet)
    with av.open(str(tmp_path / "out.mkv")) as written:
        assert written.streams.audio[0].codec_context.sample_rate == rate
        assert sum(frame.samples for frame in written.decode(audio=0)) > 0
