"""The sound of a recording: all of it, of any codec and rate, wherever the source stores it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.segstream.media import picture, read_video, write_video
from tests.segstream.sinks.helpers import record


def test_no_sound_and_other_tracks(tmp_path: Path) -> None:
    silent = write_video(tmp_path / "silent.mp4", 10)
    assert any("no sound" in note for note in record(silent, tmp_path / "a.mp4").notes)
    loud = write_video(tmp_path / "loud.mkv", 25, audio="flac")
    assert record(loud, tmp_path / "b.mp4", audio="none").notes == ()
    assert read_video(tmp_path / "b.mp4").audio == []
    record(loud, tmp_path / "c.mp4", audio="transcode")
    assert read_video(tmp_path / "c.mp4").audio_codec == "aac"
    raw = write_video(tmp_path / "raw.avi", 25, audio="pcm_s16le", codec="mjpeg", pix_fmt="yuvj420p")
    assert any("transcoded" in note for note in record(raw, tmp_path / "d.mp4").notes)
    assert float(read_video(tmp_path / "d.mp4").audio[-1][0]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [(".asf", "wmav2", 44_100), (".avi", "adpcm_ima_wav", 22_050), (".mkv", "pcm_s16le", 192_000)],
)
@pytest.mark.parametrize("out", [".mp4", ".mkv", ".webm"])
def test_any_sound_is_heard(tmp_path: Path, suffix: str, codec: str, rate: int, out: str) -> None:
    """Of codecs whose decoders must know the size of a block, and of rates that AAC does not have."""
    source = tmp_path / f"in{suffix}"
    with av.open(str(source), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(codec, rate=rate)
        sound.codec_context.layout, sound.codec_context.bit_rate = "mono", 96_000
        sound.codec_context.format = sound.codec_context.codec.audio_formats[0]
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(picture(i, 64, 48)).reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        tone = (np.sin(np.arange(2 * rate) * 2 * np.pi * 440 / rate) * 16_000).astype(np.int16)
        whole = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        whole.sample_rate, whole.pts, whole.time_base = rate, 0, Fraction(1, rate)
        size = sound.codec_context.frame_size or 1024
        kind = sound.codec_context.codec.audio_formats[0]
        resampler = av.AudioResampler(format=kind, layout="mono", rate=rate, frame_size=size)
        for part in (whole, None):
            for ready in resampler.resample(part):
                container.mux(sound.encode(ready))
        container.mux(sound.encode(None))
    record(source, tmp_path / f"out{out}")
    with av.open(str(tmp_path / f"out{out}")) as container:
        samples = [frame.to_ndarray().astype(float) for frame in container.decode(audio=0)]
        length = sum(part.shape[-1] for part in samples) / container.streams.audio[0].rate
    assert length == pytest.approx(2, abs=0.15)
    loud = np.sqrt(np.mean(np.concatenate([part.ravel() for part in samples]) ** 2))
    assert loud / (32_768 if loud > 2 else 1) == pytest.approx(0.35, abs=0.05)


@pytest.mark.parametrize("options", [{"end": 1.5}, {"max_frames": 38}])
def test_sound_that_is_stored_behind_its_pictures_is_heard_to_the_end(tmp_path: Path, options: dict[str, Any]) -> None:
    """All of it comes behind all of the pictures, in a file of two seconds."""
    source = write_video(tmp_path / "in.mkv", 50, audio="aac", container_options={"max_interleave_delta": "1"})
    with av.open(str(source)) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    assert kinds.index("audio") >= 49
    record(source, tmp_path / "out.mp4", **options)
    assert float(read_video(tmp_path / "out.mp4").audio[-1][0]) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("mode", ["copy", "transcode"])
def test_segments_have_their_sound_though_it_is_stored_a_second_behind(tmp_path: Path, mode: str) -> None:
    """A second of pictures, then a second of sound, and so on."""
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w", container_options={"max_interleave_delta": "1"}) as container:
        video, sound = container.add_stream("mpeg4", rate=25), container.add_stream("aac", rate=48_000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound.codec_context.layout = "mono"
        for second in range(4):
            for i in range(25 * second, 25 * second + 25):
                frame = av.VideoFrame.from_ndarray(picture(i, 64, 48)).reformat(format="yuv420p")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(video.encode(frame))
            for i in range(round(second * 46.875), round((second + 1) * 46.875)):
                noise = np.random.default_rng(i).uniform(-0.3, 0.3, (1, 1024)).astype(np.float32)
                samples = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
                samples.pts, samples.time_base, samples.sample_rate = i * 1024, Fraction(1, 48_000), 48_000
                container.mux(sound.encode(samples))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    summary = record(source, tmp_path / "out.mp4", segment_seconds=1.4, audio=mode)
    ends = [
        (float(part.times[-1]) + 0.04, float(part.audio[-1][0]) + 1024 / 48_000)
        for part in map(read_video, summary.outputs)
    ]
    assert len(ends) == 3 and all(heard == pytest.approx(seen, abs=0.05) for seen, heard in ends)
