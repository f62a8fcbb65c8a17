"""Live sources: what is known of them. How they fail and come back is in faults/test_live.py."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from segstream.sources import SourceOptions, open_source
from tests.segstream.media import write_video

CAMERA = "lavfi:testsrc2=size=160x96:rate=50,realtime"


@contextmanager
def camera_of(path: Path, stays: bool) -> Iterator[str]:
    """The URL of a camera that sends a file once and then nothing, and either keeps its connection or is gone."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            if not stays:
                server.close()
            with peer:
                peer.sendall(path.read_bytes())
                if stays:
                    over.wait(20)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        over.set()
        thread.join()


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


@pytest.mark.parametrize("live", ["all", "latest"])
def test_what_comes_before_the_first_is_asked_for_is_not_missed(live: str) -> None:
    """A network is loaded for a second or two: with the newest frames alone, the source begins once it is there."""
    with open_source(CAMERA, SourceOptions(live=live, end=0.4)) as source:
        time.sleep(0.7)
        frames = list(source)
    assert len(frames) + source.dropped == 20
    assert frames[0].pts_seconds == 0 if live == "all" else frames[0].pts_seconds > 0.5
    assert frames[0].dropped == 0


@pytest.mark.parametrize("live", ["all", "latest"])
def test_start_and_end_count_from_the_first_picture(live: str) -> None:
    with open_source(CAMERA, SourceOptions(live=live, start=0.2, end=0.6)) as source:
        frames = list(source)
        begun = source._first_seconds  # type: ignore[attr-defined]
    times = [round((frame.pts_seconds - begun) * 50) for frame in frames]
    assert times[0] == 10 if live == "all" else times[0] >= 10
    assert times[-1] == 29
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert len(frames) + source.dropped == 20  # those before the start are left out, not dropped


def test_a_start_later_than_the_timeouts_is_waited_for() -> None:
    with open_source(CAMERA, SourceOptions(open_timeout=0.3, read_timeout=0.3, start=2.0)) as source:
        assert next(source).pts_seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(("stays", "latest"), [(True, 3.8), (False, 2.3)], ids=["hangs", "is lost"])
def test_the_end_comes_though_no_picture_does(tmp_path: Path, stays: bool, latest: float) -> None:
    path = write_video(tmp_path / "a.mkv", 25, codec="mjpeg", pix_fmt="yuvj420p")
    with camera_of(path, stays) as url, open_source(url, SourceOptions(live="all", end=1.5)) as source:
        begin = time.monotonic()
        assert len(list(source)) == 25
        assert 1.3 < time.monotonic() - begin < latest


def test_the_end_comes_for_who_looks_without_waiting(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 25, codec="mjpeg", pix_fmt="yuvj420p")
    with camera_of(path, stays=True) as url, open_source(url, SourceOptions(live="all", end=1.5)) as source:
        begin, found = time.monotonic(), 0
        with pytest.raises(StopIteration):
            while time.monotonic() < begin + 4:
                found += source.try_next() is not None
                time.sleep(0.01)
        assert found == 25


def test_sound_is_of_the_same_seconds(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 60, codec="mjpeg", pix_fmt="yuvj420p", audio="aac")
    with camera_of(path, stays=True) as url, open_source(url, SourceOptions(live="all", start=0.4, end=1.2)) as source:
        tap = source.tap_audio()
        frames = list(source)
        assert tap is not None
        sound = [seconds for seconds, _ in tap.take(float("inf"))]
    first = frames[0].pts_seconds
    assert len(frames) == 20 and first == pytest.approx(0.4, abs=0.05)  # the sound of this file begins a little earlier
    assert first <= min(sound) < first + 0.1 and first + 0.7 < max(sound) < first + 0.8


def late_sound(path: Path) -> Path:
    """Three seconds of a transport stream whose sound comes 0.6 s after the pictures it belongs to."""
    options = {"max_interleave_delta": "1"}
    with av.open(str(path), "w", format="mpegts", container_options=options) as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"preset": "ultrafast", "tune": "zerolatency"}
        audio = container.add_stream("aac", rate=48000)
        audio.codec_context.layout = "mono"
        packets: list[tuple[float, av.Packet]] = []
        for i in range(75):
            picture = av.VideoFrame(64, 48, "yuv420p")
            picture.pts, picture.time_base = i + 50, Fraction(1, 25)
            packets += [(i / 25, packet) for packet in video.encode(picture)]
        for i in range(140):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.pts, sound.time_base, sound.sample_rate = i * 1024 + 96000, Fraction(1, 48000), 48000
            packets += [(i * 1024 / 48000 + 0.6, packet) for packet in audio.encode(sound)]
        for _, packet in sorted(packets, key=lambda entry: entry[0]):
            container.mux_one(packet)
    return path


def test_sound_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    path = late_sound(tmp_path / "late.ts")
    with camera_of(path, stays=True) as url, open_source(url, SourceOptions(live="all", end=1.6)) as source:
        tap = source.tap_audio()
        frames = list(source)
        assert tap is not None
        sound = [seconds for seconds, _ in tap.take(float("inf"))]
    assert frames[-1].pts_seconds == pytest.approx(1.56, abs=0.05)
    assert max(sound) > 1.5


def test_hardware_decoding_that_was_asked_for_is_not_left_out_silently() -> None:
    with open_source(CAMERA, SourceOptions(hwaccel="cuda")) as source:
        assert source.info.decoder == "software"
        assert "software decodes" in (source.warnings.summary() or "")
    with open_source(CAMERA, SourceOptions(hwaccel="auto")) as source:
        assert source.warnings.summary() is None
