"""The pipeline: order, overlap, errors, the viewer's controls, figures."""

from __future__ import annotations

import json
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

import segstream
from segstream.errors import EngineError, OutputError, SegstreamError, SourceError, UsageError
from segstream.pipeline import DrawOptions, Lane, Pipeline
from segstream.sinks.base import Sink
from segstream.sources import SourceOptions, open_source
from segstream.sources.base import Source
from tests.segstream.media import Quick, read_video, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "in.mp4", 50, (160, 96), options={"g": "20"})


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = threading.active_count()
    yield
    end = time.monotonic() + 3
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.02)
    assert threading.active_count() <= before, [thread.name for thread in threading.enumerate()]


class Viewer:
    """Keeps what the pipeline shows."""

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.times: list[float] = []
        self.pictures: list[object] = []

    def __call__(self, result, picture, lane) -> None:
        self.frames.append(round(result.pts_seconds * 25))
        self.times.append(time.monotonic())
        self.pictures.append(picture)

    def wait_for(self, count: int) -> None:
        end = time.monotonic() + 5
        while len(self.frames) < count:
            assert time.monotonic() < end, self.frames
            time.sleep(0.005)


def test_every_frame_in_order_and_the_figures(video: Path) -> None:
    viewer, segmenter = Viewer(), Quick(2)
    pipeline = Pipeline(open_source(video), segmenter, draw=DrawOptions(), on_result=viewer)
    pipeline.run()
    assert viewer.frames == list(range(50)) and segmenter.calls == 50
    assert all(picture.shape == (96, 160, 3) for picture in viewer.pictures)
    stats = pipeline.stats()
    assert stats.frames == 50 and stats.progress == 1.0 and stats.eta_s == 0
    assert stats.mean_high_share == pytest.approx(1 / 6) and stats.gmacs == pytest.approx(0.5)
    assert stats.mean_fps == pytest.approx(50 / stats.elapsed_s, rel=0.01)
    assert {"decode", "infer", "network", "draw", "write"} <= set(stats.stage_ms)
    assert stats.lanes[0].frames == 50 and stats.lanes[0].name == "in.mp4" and not pipeline.stopped
    assert stats == pipeline.stats()  # the clock stands still at the end


def test_nothing_is_drawn_unless_wanted(video: Path) -> None:
    viewer = Viewer()
    Pipeline(open_source(video), Quick(), on_result=viewer).run()
    assert viewer.pictures == [None] * 50


def test_stages_overlap(video: Path) -> None:
    class Slow(Sink):
        needs_picture = False

        def write(self, result, picture) -> None:
            time.sleep(0.01)

        def close(self) -> None:
            pass

    begin = time.monotonic()
    Pipeline(Lane(open_source(video), [Slow()]), Quick(10)).run()
    assert time.monotonic() - begin < 50 * 0.020 * 0.85


class BrokenSink(Sink):
    needs_picture = False

    def __init__(self, error: Exception, at: str) -> None:
        super().__init__()
        self.error, self.at, self.ended = error, at, ""

    def write(self, result, picture) -> None:
        if self.at == "write" and result.index == 3:
            raise self.error

    def close(self) -> None:
        self.ended = "closed"
        if self.at == "close":
            raise self.error

    def abort(self) -> None:
        self.ended = "aborted"


class BrokenSource(Source):
    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(SourceOptions())
        self._inner = open_source(path)
        self._error = error
        self.info = self._inner.info

    def __next__(self):
        frame = next(self._inner)
        if frame.index == 3:
            raise self._error
        return frame

    def close(self) -> None:
        self._inner.close()


class BrokenEngine(Quick):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def __call__(self, frame, previous=None):
        if frame.index == 3:
            raise self.error
        return super().__call__(frame)


@pytest.mark.parametrize("where", ["source", "engine", "callback", "write", "close"])
@pytest.mark.parametrize("error", [RuntimeError("something odd"), OSError(28, "No space left"), MemoryError()])
def test_an_error_anywhere_ends_everything_promptly(video: Path, tmp_path: Path, where: str, error: Exception) -> None:
    def callback(result, picture, lane) -> None:
        if where == "callback" and result.index == 3:
            raise error

    source = (
        BrokenSource(video, error) if where == "source" else open_source(video, SourceOptions(loop=where != "close"))
    )
    engine = BrokenEngine(error) if where == "engine" else Quick()
    sink = BrokenSink(error, where)
    pipeline = Pipeline(Lane(source, [sink]), engine, on_result=callback)
    begin = time.monotonic()
    with pytest.raises(SegstreamError) as caught:
        pipeline.run()
    assert time.monotonic() - begin < 3
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)
    assert sink.ended == {"close": "closed", "source": "closed"}.get(where, "aborted")
    expected = {"source": SourceError}.get(where)
    if expected is None:
        expected = OutputError if isinstance(error, OSError) and where != "engine" else EngineError
    assert type(caught.value) is expected
    assert not pipeline.running


@pytest.mark.parametrize("broken", ["engine", "other output"])
def test_what_was_segmented_before_an_error_is_written(video: Path, broken: str) -> None:
    """The network runs ahead of the outputs; what fails elsewhere takes nothing from an output that works."""
    gate, full, written = threading.Event(), threading.Event(), []

    class Waits(Sink):
        needs_picture = False

        def write(self, result, picture) -> None:
            gate.wait(5)
            written.append(result.index)

        def close(self) -> None:
            written.append("closed")

    class OneThatFails(Sink):
        needs_picture = False

        def write(self, result, picture) -> None:
            full.wait(5)
            raise OSError(28, "No space left")

        def close(self) -> None:
            pass

    class Counts(Quick):
        def __call__(self, frame, previous=None):
            if frame.index == 3 and frame.source != "demo":  # which may be ahead
                full.set()
                if broken == "engine":
                    raise RuntimeError("something odd")
            return super().__call__(frame)

    lanes = [Lane(open_source(video), [Waits()])]
    if broken == "other output":
        lanes.append(Lane(open_source("demo:64x64"), [OneThatFails()]))
    pipeline = Pipeline(lanes, Counts())
    pipeline.start()
    end = time.monotonic() + 5
    while pipeline.error is None and time.monotonic() < end:
        time.sleep(0.005)
    gate.set()
    with pytest.raises(EngineError if broken == "engine" else OutputError):
        pipeline.wait()
    assert written[:3] == [0, 1, 2] and written[-1] == "closed"


def test_a_target_rate_keeps_within_the_budget_and_gives_it_back(video: Path, tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    with segstream.Segmenter("untrained-rn18", device="cpu", size=(256, 128), block=64, policy="high") as seg:
        seg.budget = 0.5
        segstream.record(str(video), model=seg, target_fps=1, max_frames=6, save_jsonl=lines)
        shares = [json.loads(line)["high_share"] for line in lines.read_text().splitlines()]
        assert shares == [0.5] * 6
        assert seg.budget == 0.5


@pytest.mark.parametrize("error", [None, RuntimeError("something odd")])
def test_a_budget_that_a_target_rate_has_lowered_is_put_back(video: Path, error: Exception | None) -> None:
    class Fails(Quick):
        def __call__(self, frame, previous=None):
            if frame.index == 40 and error is not None:
                raise error
            return super().__call__(frame)

    seen: list[float] = []
    segmenter = Fails(30)
    segmenter.budget = 0.7
    pipeline = Pipeline(
        open_source(video), segmenter, on_result=lambda *_: seen.append(segmenter.budget), target_fps=100
    )
    with nullcontext() if error is None else pytest.raises(EngineError):
        pipeline.run()
    assert seen[0] == 0.7 and min(seen) < 0.3
    assert pipeline.stats().budget == min(seen)  # what is shown at the end is what was used
    assert segmenter.budget == 0.7


def test_a_budget_that_is_changed_under_a_target_rate_is_kept_to(video: Path) -> None:
    segmenter, seen = Quick(), []

    def change(result, picture, lane) -> None:
        if result.index == 5:
            segmenter.budget = 0.2
        seen.append(segmenter.budget)

    Pipeline(open_source(video), segmenter, on_result=change, target_fps=1).run()
    assert seen[0] == 1.0 and set(seen[5:]) == {0.2}
    assert segmenter.budget == 0.2


def test_stop_finishes_the_outputs(video: Path, tmp_path: Path) -> None:
    from segstream.sinks import VideoSink

    source = open_source(video, SourceOptions(loop=True))
    pipeline = Pipeline(Lane(source, [VideoSink(tmp_path / "out.mp4", source)]), Quick(2))
    pipeline.start()
    time.sleep(0.3)
    begin = time.monotonic()
    pipeline.stop()
    pipeline.wait()
    assert time.monotonic() - begin < 1 and pipeline.stopped
    assert len(read_video(tmp_path / "out.mp4").times) == pipeline.stats().frames > 20


def test_pause_step_and_seek(video: Path) -> None:
    viewer = Viewer()
    pipeline = Pipeline(open_source(video), Quick(), draw=DrawOptions(), on_result=viewer, keep_open=True, speed=1.0)
    pipeline.pause()
    pipeline.start()
    time.sleep(0.1)
    assert viewer.frames == [] and pipeline.paused
    for count, (action, frame) in enumerate(
        [
            (lambda: pipeline.step(), 0),
            (lambda: pipeline.step(), 1),
            (lambda: pipeline.seek(30 / 25), 30),
            (lambda: pipeline.step(-1), 29),
            (lambda: pipeline.step(-1), 28),
            (lambda: pipeline.step(), 29),
            (lambda: pipeline.seek(20 / 25), 20),
            (lambda: pipeline.step(-1), 19),
            (lambda: pipeline.step(), 20),
            (lambda: pipeline.seek(99), 49),
        ],
        1,
    ):
        action()
        viewer.wait_for(count)
        assert viewer.frames[-1] == frame
    time.sleep(0.05)
    assert len(viewer.frames) == 10
    pipeline.seek(40 / 25)
    viewer.wait_for(11)
    pipeline.resume()
    viewer.wait_for(20)  # up to the end, which it waits at
    time.sleep(0.1)
    assert viewer.frames[10:] == list(range(40, 50)) and pipeline.running
    assert pipeline.ended and pipeline.stats().lanes[0].state == "ended"
    pipeline.seek(0)
    assert not pipeline.ended
    viewer.wait_for(25)
    assert pipeline.stats().lanes[0].state == "connected" and not pipeline.ended
    assert viewer.frames[20:25] == [0, 1, 2, 3, 4]
    pipeline.stop()
    assert pipeline.join(2)


def test_ended_means_that_the_last_result_was_delivered(video: Path) -> None:
    late: list[bool] = []

    def slow(result, picture, lane) -> None:
        time.sleep(0.02)
        late.append(pipeline.ended)

    pipeline = Pipeline(open_source(video, SourceOptions(max_frames=5)), Quick(), on_result=slow, keep_open=True)
    pipeline.start()
    end = time.monotonic() + 5
    while not pipeline.ended:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert late == [False] * 5 and pipeline.running
    pipeline.stop()
    assert pipeline.join(2)


@pytest.mark.parametrize("speed", [1.0, 3.0])
def test_files_play_at_their_own_speed(video: Path, speed: float) -> None:
    viewer = Viewer()
    Pipeline(open_source(video), Quick(), on_result=viewer, speed=speed).run()
    assert viewer.times[-1] - viewer.times[0] == pytest.approx(49 / 25 / speed, rel=0.15)


def test_a_live_source_cannot_be_positioned() -> None:
    source = open_source("lavfi:testsrc2=size=64x64:rate=50,realtime", SourceOptions(max_frames=5))
    pipeline = Pipeline(source, Quick())
    with pytest.raises(SourceError, match="cannot be positioned"):
        pipeline.seek(1.0)
    pipeline.run()
    assert pipeline.stats().frames == 5


def test_stream_yields_results_and_ends_its_threads(video: Path) -> None:
    results = list(segstream.stream(str(video), model=Quick(), max_frames=7))
    assert [result.index for result in results] == list(range(7))
    for result in segstream.stream(str(video), model=Quick()):  # noqa: B007
        break
    with pytest.raises(UsageError):
        segstream.stream(str(video), model=Quick(), policy="high")
    with pytest.raises(UsageError, match=r"'strat' is no option of a source.*did you mean 'start'"):
        segstream.stream(str(video), model=Quick(), strat=1)
    with pytest.raises(UsageError, match="a Segmenter, or the name or path of a model, not a int"):
        segstream.stream(str(video), model=5)
    with pytest.raises(SourceError):
        segstream.stream("missing.mp4", model=Quick())


@pytest.mark.parametrize("taken", [0, 1])
def test_a_stream_that_is_given_up_closes_its_source(taken: int) -> None:
    results = segstream.stream("lavfi:testsrc2=size=64x64:rate=50,realtime", model=Quick())
    assert any(thread.name.startswith("reader of lavfi") for thread in threading.enumerate())
    for _ in range(taken):
        next(results)
    results.close()
    end = time.monotonic() + 5
    while any(thread.name.startswith("reader of lavfi") for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_real_network_through_the_whole_pipeline(video: Path, tmp_path: Path) -> None:
    with segstream.Segmenter("untrained-rn18", device="cpu", size=(192, 128), block=64, policy="random") as seg:
        summary = segstream.record(
            str(video), tmp_path / "out.mp4", model=seg, max_frames=10, save_masks=tmp_path / "masks"
        )
        assert summary.frames == 10 and 0 < summary.high_share < 1 and summary.gmacs < summary.dense_gmacs
        assert len(list((tmp_path / "masks").iterdir())) == 10
        result = next(iter(seg.stream(str(video))))
        assert result.labels.shape == (96, 160)
