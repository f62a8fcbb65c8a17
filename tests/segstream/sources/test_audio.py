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


def test_what_a_failed_attempt_to_find_a_place_read_is_not_heard(tmp_path: Path) -> None:
    path = write_video(tmp_path / "tone.mp4", 50, audio="aac")
    with av.open(str(path)) as container:
        tap = audio_tap(container)
        assert tap is not None
        packets = [packet for packet in container.demux(audio=0) if packet.pts is not None and packet.pts >= 0]
        times = [float(packet.pts * packet.time_base) for packet in packets]
        for packet in packets:
            tap.put(packet)
        tap.cut(1.0)  # a pass of a loop ends
        tap.hold()
        for packet in packets[60:]:  # too far on, by a wrong index
            tap.put(packet)
        tap.hold()
        for packet in packets[:40]:
            tap.put(packet)
        before = [seconds for seconds, _ in tap.take(100)]
        tap.release(0.5)
        for packet in packets[40:]:
            tap.put(packet)
        after = [seconds for seconds, _ in tap.take(100)]
    assert before == [time for time in times if time < 1.0]
    assert after == [time for time in times if time >= 0.5]
