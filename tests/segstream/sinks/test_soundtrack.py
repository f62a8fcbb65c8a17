"""Sound stays with the pictures where the source's times jump: loops, joined recordings, cameras that were away."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.packet import Packet

import segstream
from segstream.sinks.audio import AudioWriter
from segstream.sinks.soundtrack import Soundtrack
from segstream.sources.audio import AudioTap, audio_tap
from tests.segstream.media import Quick, picture, read_video, write_video

STEP = 1024 / 48_000  # seconds of a packet of AAC


def write_noisy(path: Path, pictures: float, sound: tuple[float, float], *, first: float = 0.0, gop: int = 25) -> Path:
    """A video of noise that is nowhere alike: seconds of pictures at 25 fps, the sound from one second to another.

    All timestamps are `first` seconds later.
    """
    options = {"output_ts_offset": str(first)} if first else {}
    with av.open(str(path), "w", container_options=options) as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options, video.codec_context.gop_size = {"preset": "ultrafast", "g": str(gop)}, gop
        audio = container.add_stream("aac", rate=48_000)
        audio.codec_context.layout = "mono"
        rng = np.random.default_rng(round(100 * (pictures + sum(sound) + first)))
        shown, heard = 0, round(sound[0] / STEP)
        while shown < pictures * 25 or heard * STEP < sound[1]:
            if heard * STEP >= sound[1] or (shown < pictures * 25 and shown / 25 <= heard * STEP):
                frame = av.VideoFrame.from_ndarray(picture(shown, 64, 48)).reformat(format="yuv420p")
                frame.pts, frame.time_base = shown, Fraction(1, 25)
                container.mux(video.encode(frame))
                shown += 1
            else:
                noise = rng.uniform(-0.3, 0.3, (1, 1024)).astype(np.float32)
                samples = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
                samples.pts, samples.time_base, samples.sample_rate = heard * 1024, Fraction(1, 48_000), 48_000
                container.mux(audio.encode(samples))
                heard += 1
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def packets(path: Path) -> list[tuple[float, bytes]]:
    """Seconds and the last bytes of each packet of sound: what is before them is the container's."""
    with av.open(str(path)) as container:
        found = [(float(p.pts * p.time_base), bytes(p)[-60:]) for p in container.demux(audio=0) if p.size]
    return found


def sound_of(container: InputContainer) -> tuple[AudioTap, list[Packet]]:
    """A tap of a container's sound, and the packets to put into it."""
    tap = audio_tap(container)
    assert tap is not None
    return tap, [packet for packet in container.demux(audio=0) if packet.pts is not None and packet.pts >= 0]


def lateness(out: Path, *parts: tuple[Path, float, float]) -> list[float]:
    """By how many seconds each packet of a recording is late.

    Args:
        out: the recording.
        parts: of what it was made: a file, the time of its first picture in it, and in the recording.
    """
    place = {data: at - first + begin for path, first, begin in parts for at, data in packets(path)}
    return [at - place[data] for at, data in packets(out)]


def record(source: Path | str, out: Path, **options):
    return segstream.record(str(source), out, model=Quick(), **options)


@pytest.mark.parametrize(
    ("sound", "start"), [((0, 4), 0.0), ((0, 2.4), 0.0), ((0, 2), 0.0), ((0.6, 1.4), 0.0), ((0, 4), 0.6)]
)
def test_each_pass_of_a_loop_begins_with_its_own_sound(
    tmp_path: Path, sound: tuple[float, float], start: float
) -> None:
    source = write_noisy(tmp_path / "in.mp4", 2, sound, gop=50)
    length = 2 - start
    out = tmp_path / "out.mp4"
    record(source, out, loop=True, start=start, max_frames=round(length * 25) * 5)
    place = {data: at for at, data in packets(source)}
    heard = packets(out)
    for number in range(5):
        begin = number * length
        mine = [(at - begin, place[data] - start) for at, data in heard if begin - 0.011 <= at < begin + length - 0.011]
        assert all(abs(at - wanted) < 0.002 for at, wanted in mine), number
        seconds = min(length, sound[1] - start) - max(0, sound[0] - start)
        assert len(mine) * STEP == pytest.approx(seconds, abs=0.06)
    assert heard[-1][0] < 5 * length


def test_sound_of_a_loop_is_transcoded_and_cut_into_segments_in_step(tmp_path: Path) -> None:
    source = write_noisy(tmp_path / "in.mp4", 2, (0, 3.5))
    record(source, tmp_path / "out.webm", loop=True, max_frames=1000)
    heard = read_video(tmp_path / "out.webm").audio
    assert len(heard) * 0.02 == pytest.approx(40, abs=0.5) and float(heard[-1][0]) == pytest.approx(40, abs=0.1)
    summary = record(source, tmp_path / "part.mp4", loop=True, max_frames=200, segment_seconds=1.0)
    assert len(summary.outputs) == 8
    place = {data: at for at, data in packets(source)}
    for number, path in enumerate(summary.outputs):
        heard = packets(path)
        assert len(heard) * STEP == pytest.approx(1, abs=0.05)
        assert all(abs(at + number % 2 - place[data]) < 0.002 for at, data in heard)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("first", "sound"),
    [(1.5, 2), (1.7, 2), (0.0, 2), (0.0, 3.5), (0.0, 1.2), (7500.0, 2), (7500.0, 3.5), (7500.0, 1.2)],
)
def test_joined_recordings(tmp_path: Path, suffix: str, first: float, sound: float) -> None:
    """The second begins `first` seconds after the first, whose pictures take 2: before these end, or hours later."""
    parts = [
        write_noisy(tmp_path / "0.ts", 2, (0, sound)),
        write_noisy(tmp_path / "1.ts", 3, (0, 3), first=first),
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    out = tmp_path / f"out{suffix}"
    record(joined, out)
    shown = read_video(out).times
    assert len(shown) == 125 and shown[-1] - shown[0] == pytest.approx(4.96, abs=0.002)
    begins = [float(read_video(part).times[0]) for part in parts]
    late = lateness(out, (parts[0], begins[0], float(shown[0])), (parts[1], begins[1], float(shown[50])))
    assert max(map(abs, late)) < 0.003, late
    # Sound of the first part beyond its pictures may be heard a moment longer, until that of the second is met.
    assert len(late) * STEP == pytest.approx(min(sound, 2) + 3, abs=0.1 + min(max(0, sound - 2), 0.5))


@pytest.mark.parametrize("mode", ["copy", "transcode"])
def test_sound_that_waits_is_heard_at_the_end_of_a_file(tmp_path: Path, mode: str) -> None:
    """The sound's times step back by 0.3 s, twice, and files end before it is clear that the pictures' do not."""
    path = write_noisy(tmp_path / "in.mkv", 7, (0, 7))
    with av.open(str(path)) as container:
        tap, coming = sound_of(container)
        sound = Soundtrack(tap, 0.04)
        for number, (begin, end) in enumerate([(0.0, 3.0), (3.0, 4.0), (4.0, 6.0)]):
            with av.open(str(tmp_path / f"{number}.mkv"), "w") as out:
                writer = AudioWriter(out, sound, mode, -begin, [])
                out.start_encoding()
                for now in np.arange(begin, end, 0.04):
                    while coming and (seconds := coming[0].pts * coming[0].time_base) < now + 1:
                        packet = coming.pop(0)
                        packet.pts -= round(0.3 * ((seconds > 2.9) + (seconds > 5.9)) / packet.time_base)
                        tap.put(packet)
                    writer.write(now - begin)
                writer.close(end - begin, last=number == 2)
    for number, length in enumerate([3, 1, 2]):
        heard = [at for at, _ in packets(tmp_path / f"{number}.mkv")]
        assert heard[0] < 0.07 and heard[-1] == pytest.approx(length, abs=0.07), number
        assert all(0 < gap < 0.05 for gap in np.diff(heard)), number


def test_a_file_that_ends_before_a_jump_takes_nothing_from_the_next(tmp_path: Path) -> None:
    with av.open(str(write_noisy(tmp_path / "in.mkv", 4, (0, 4)))) as container:
        tap, every = sound_of(container)
        sound = Soundtrack(tap, 0.04)
        for packet in (*every[:85], *every[75:]):  # 1.8 s, then on from 1.6 s
            tap.put(packet)
        ended = sound.take(1.92, closing=True)
        sound.pictures_jumped(every[94].pts * every[94].time_base, 19 * STEP, back=True)
        after = [time for now in np.arange(1.96, 4.6, 0.04) for time, _, _ in sound.take(now)]
    assert len(ended) == 90 and ended[-1][0] < 1.92  # how could it know
    assert len(after) == len(every) - 75 and after[0] == pytest.approx(94 * STEP, abs=2e-3)
    assert np.allclose(np.diff(after), STEP, atol=2e-3)


def test_sound_that_jumps_alone_goes_on_where_it_was(tmp_path: Path) -> None:
    path = write_noisy(tmp_path / "in.mp4", 4, (0, 4))
    with av.open(str(path)) as container:
        tap, every = sound_of(container)
        sound = Soundtrack(tap, 0.04)
        for packet in (*every, *every[:47]):  # a second of it comes again
            tap.put(packet)
        heard = [time for now in np.arange(0.04, 8, 0.04) for time, _, _ in sound.take(now)]
    assert len(heard) == len(every) + 47
    assert np.allclose(np.diff(heard), STEP, atol=1e-3)


def test_a_part_within_the_first_group_of_pictures_has_its_sound_from_the_start(tmp_path: Path) -> None:
    """Seeking there leads to the source's own start, and to the samples before zero that an encoder begins with."""
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    # With B-frames decoding begins before zero too, so that seeking there finds what comes before it.
    write_video(source, 100, audio="aac", options={"x264-params": "keyint=250:scenecut=0:bframes=2"})
    assert packets(source)[0][0] < 0
    record(source, out, start=2.0)
    with av.open(str(out)) as container:
        heard = [frame.time for frame in container.decode(audio=0)]
    assert heard[0] == pytest.approx(0, abs=0.03) and len(heard) == pytest.approx(2 / STEP, abs=2)
