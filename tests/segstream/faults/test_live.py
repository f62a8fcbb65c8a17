"""Live sources that refuse, stall, drop and come back, and consumers that are too slow for them."""

from __future__ import annotations

import http.server
import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import segstream
from segstream.errors import SourceError
from segstream.pipeline import Lane, Pipeline
from segstream.sources import SourceOptions, open_source
from tests.segstream.media import Quick, read_video, write_video

CAMERA = "lavfi:testsrc2=size=160x96:rate=50,realtime"
QUICK = SourceOptions(open_timeout=3, read_timeout=1)


def wait_until(condition, seconds: float) -> float:
    """Seconds until the condition held."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise AssertionError(f"did not happen within {seconds} s")
        time.sleep(0.01)
    return time.monotonic() - begin


def test_the_newest_frame_wins_and_drops_are_counted() -> None:
    with open_source(CAMERA) as source:
        assert source.info.is_live and source.state == "connected"
        first = next(source)
        time.sleep(0.5)
        later = next(source)
        assert later.index == first.index + 1
        assert later.pts_seconds - first.pts_seconds > 0.35
        assert later.dropped > 15 and source.dropped >= later.dropped
        assert time.monotonic() - later.captured_at < 0.1


def test_all_frames_if_asked_for() -> None:
    with open_source(CAMERA, SourceOptions(live="all")) as source:
        times = []
        for frame in itertools.islice(source, 20):
            times.append(round(frame.pts_seconds * 50))
            time.sleep(0.03)
        assert times == list(range(20)) and source.dropped == 0


def test_a_slow_consumer_sees_fresh_frames_only(figure) -> None:
    ages = []
    for result in itertools.islice(segstream.stream(CAMERA, model=Quick(60)), 25):
        ages.append(time.monotonic() - result.frame.captured_at)
    assert max(ages[5:]) < 0.2
    figure("slow consumer", f"frame age at most {max(ages[5:]) * 1e3:.0f} ms with an engine that takes 60 ms")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("minutes", [0.5, pytest.param(10, marks=pytest.mark.slow)])
def test_source_faster_than_the_engine(minutes: float, figure) -> None:
    """A camera at 20 times its speed against an engine at 40 frames a second: 12 frames come for each that is used."""
    frames = minutes * 60 * 25
    source = open_source("lavfi:testsrc2=size=160x96:rate=25,realtime=speed=20")
    latencies: list[float] = []
    pipeline = Pipeline(source, Quick(25), on_result=lambda result, picture, lane: keep(result))

    def keep(result) -> None:
        latencies.append(time.monotonic() - result.frame.captured_at)
        if source.dropped + len(latencies) >= frames:
            pipeline.stop()

    pipeline.run()
    quarter = len(latencies) // 4
    early, late = np.percentile(latencies[:quarter], 95), np.percentile(latencies[-quarter:], 95)
    assert source.dropped > 4 * len(latencies)
    assert late < 0.25 and late < early + 0.05
    figure(
        f"source faster than the engine, {minutes:g} min",
        f"{source.dropped} dropped, {len(latencies)} used, 95 % latency {early * 1e3:.0f} ms early, "
        f"{late * 1e3:.0f} ms late",
    )


def test_closing_ends_the_thread_at_once() -> None:
    before = threading.active_count()
    source = open_source(CAMERA)
    next(source)
    begin = time.monotonic()
    source.close()
    source.close()
    assert time.monotonic() - begin < 0.6
    assert next(source, None) is None and source.state == "closed"
    wait_until(lambda: threading.active_count() <= before, 2)


def test_refused_and_silent_connections(figure) -> None:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        begin = time.monotonic()
        with pytest.raises(SourceError, match="Connection refused"):
            open_source(f"rtsp://user:secret@127.0.0.1:{port}/x", QUICK)
        refused = time.monotonic() - begin
        listening.listen()  # accepts and says nothing
        for scheme in ("rtsp", "http"):
            begin = time.monotonic()
            with pytest.raises(SourceError) as caught:
                open_source(f"{scheme}://user:secret@127.0.0.1:{port}/x?token=hidden", QUICK)
            silent = time.monotonic() - begin
            assert silent < 5
            assert "secret" not in str(caught.value) and "hidden" not in str(caught.value)
            assert caught.value.__cause__ is None  # FFmpeg's own text holds the password
    assert refused < 2
    figure("connection refused / silent", f"told after {refused:.1f} s / {silent:.1f} s (open timeout 3 s)")


@pytest.mark.timeout(40)
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rtsp(rtsp, transport: str) -> None:
    rtsp.start()
    with open_source(rtsp.url, SourceOptions(rtsp_transport=transport, live="all")) as source:
        frames = list(itertools.islice(source, 30))
    assert frames[0].image.shape == (96, 160, 3)
    steps = np.diff([frame.pts_seconds for frame in frames])
    assert np.allclose(steps, 0.04, atol=0.005)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_rtsp_drops_and_comes_back(rtsp, times: int, figure) -> None:
    rtsp.start()
    waits, blacks = [], 0
    with open_source(rtsp.url, SourceOptions(read_timeout=2)) as source:
        last = next(source)
        for _ in range(times):
            rtsp.stop()
            wait_until(lambda: source.state == "reconnecting", 4)
            time.sleep(0.3)
            rtsp.start()
            back = time.monotonic()
            reconnects = source.reconnects
            frame = next(source)
            while source.reconnects == reconnects:
                frame = next(source)
            waits.append(time.monotonic() - back)
            assert source.state == "connected"
            assert frame.pts_seconds > last.pts_seconds + 0.2  # a gap, not a jump back
            blacks += frame.image.max() < 40
            last = frame
        assert source.reconnects == times
    assert max(waits) < 2 and blacks == 0
    figure(f"RTSP server gone {times} times", f"back {np.mean(waits):.2f} s after it, at most {max(waits):.2f} s")


@pytest.mark.timeout(60)
def test_rtsp_stalls(rtsp, figure) -> None:
    rtsp.start("silent-after", "1.5")
    with open_source(rtsp.url, SourceOptions(read_timeout=1)) as source:
        for _ in range(20):
            last = next(source)
        noticed = wait_until(lambda: source.state == "reconnecting", 6)
        assert "connection lost" in " ".join(source.warnings.messages)
        assert last.image.max() > 40
    figure("RTSP stall", f"noticed {noticed:.1f} s after the last look (read timeout 1 s)")
    rtsp.stop()
    rtsp.start("silent-after", "1")
    begin = time.monotonic()
    with pytest.raises(SourceError, match="was lost"):
        for _ in segstream.stream(rtsp.url, model=Quick(), reconnect=False, read_timeout=1):
            pass
    assert time.monotonic() - begin < 8


@pytest.mark.timeout(60)
def test_recording_goes_on_after_a_lost_connection(rtsp, tmp_path: Path) -> None:
    rtsp.start("audio")
    pipelines: list[Pipeline] = []

    def drop_and_return() -> None:
        time.sleep(1.5)
        rtsp.stop()
        time.sleep(1.0)
        rtsp.start("audio")
        time.sleep(3.0)
        pipelines[0].stop()

    thread = threading.Thread(target=drop_and_return)
    thread.start()
    summary = segstream.record(rtsp.url, tmp_path / "out.mp4", model=Quick(), read_timeout=2, on_start=pipelines.append)
    thread.join()
    assert summary.interrupted and any("connection lost" in warning for warning in summary.warnings)
    after = read_video(tmp_path / "out.mp4")
    steps = np.diff([float(time) for time in after.times])
    assert len(after.times) == summary.frames
    assert steps.min() > 0 and 0.9 < steps.max() < 4  # the loss is a gap in time
    before = int(steps.argmax()) + 1  # how many frames there are depends on how busy the machine is
    assert before > 5 and len(after.times) - before > 5
    assert float(after.times[-1]) == pytest.approx(5.5, abs=2)
    assert after.audio_codec == "aac" and float(after.audio[-1][0]) == pytest.approx(float(after.times[-1]), abs=1)


class _Folder(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path):
    folder = tmp_path / "web"
    folder.mkdir()

    def handler(*arguments: object) -> _Folder:
        return _Folder(*arguments, directory=str(folder))  # type: ignore[arg-type]

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_video_and_playlist_on_a_web_server_are_read_whole(web) -> None:
    folder, url = web
    write_video(folder / "a.mp4", 40)
    with open_source(f"{url}/a.mp4") as source:
        assert not source.info.is_live
        assert [round(frame.pts_seconds * 25) for frame in source] == list(range(40))
    write_video(folder / "list.m3u8", 60, format="hls", container_options={"hls_time": "1"}, options={"g": "25"})
    with open_source(f"{url}/list.m3u8") as source:
        assert sum(1 for _ in source) == 60
    with pytest.raises(SourceError, match=r"missing\.mp4"):
        open_source(f"{url}/missing.mp4")


def test_several_sources_share_the_engine_fairly(tmp_path: Path) -> None:
    long = write_video(tmp_path / "long.mp4", 60)
    short = write_video(tmp_path / "short.mp4", 20)
    order: list[int] = []
    lanes = [Lane(open_source(long)), Lane(open_source(short)), Lane(open_source(CAMERA, SourceOptions(max_frames=20)))]
    pipeline = Pipeline(lanes, Quick(8), on_result=lambda result, picture, lane: order.append(lane))
    pipeline.run()
    assert [order.count(lane) for lane in range(3)] == [60, 20, 20]
    together = order[:36]
    assert min(together.count(lane) for lane in range(3)) >= 8
    (tmp_path / "out").mkdir()
    summary = segstream.record([str(long), str(short), str(short)], tmp_path / "out", model=Quick())
    assert [path.name for path in summary.outputs] == ["long.mp4", "short.mp4", "short-2.mp4"]
    assert [len(read_video(path).times) for path in summary.outputs] == [60, 20, 20]


@pytest.mark.timeout(30)
def test_one_lost_source_does_not_stop_the_others(tmp_path: Path) -> None:
    class Lost(type(open_source("demo:64x64"))):  # type: ignore[misc]
        def __next__(self):
            if self._delivered == 5:
                raise SourceError("the camera was lost")
            return super().__next__()

    good = open_source(write_video(tmp_path / "a.mp4", 50))
    counts = [0, 0]

    def count(result, picture, lane) -> None:
        counts[lane] += 1

    pipeline = Pipeline([Lane(Lost("demo:64x64", SourceOptions())), Lane(good)], Quick(), on_result=count)
    with pytest.raises(SourceError, match="camera was lost"):
        pipeline.run()
    assert counts == [5, 50]
