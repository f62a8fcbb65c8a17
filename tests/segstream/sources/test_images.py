"""Images: one, a folder, a glob, a list; and what a glob of videos means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import segstream
from segstream.errors import SourceError
from segstream.sources import SourceOptions, open_source
from segstream.sources.images import read_image
from tests.segstream.media import Quick, read_video, write_video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images that are told apart by their brightness: 10, 20, 30 beside a text, 40 and 50 one folder deeper."""
    (tmp_path / "deep").mkdir()
    for name, grey in (("a.png", 10), ("b.JPG", 20), ("c.bmp", 30), ("deep/d.png", 40), ("deep/e[1].png", 50)):
        Image.fromarray(np.full((48, 64, 3), grey, np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def greys(spec, **options) -> list[int]:
    with open_source(spec, SourceOptions(**options)) as source:
        return [round(float(frame.image.mean())) for frame in source]


def test_folders_globs_and_lists(folder: Path) -> None:
    assert greys(folder) == greys(str(folder)) == [10, 20, 30]
    assert greys(f"{folder}/*.png") == [10]
    assert greys(f"{folder}/[ab].*") == [10, 20]
    assert greys(f"{folder}/**/*.png") == [10, 40, 50]
    assert greys([folder / "c.bmp", str(folder / "a.png"), folder / "deep" / "d.png"]) == [30, 10, 40]  # as given
    assert greys(folder / "b.JPG") == [20]
    assert greys(f"{folder}/deep/e[1].png") == [50]  # a file of that very name, though it looks like a pattern


def test_rate_start_end_and_loop(folder: Path) -> None:
    with open_source(folder, SourceOptions(image_rate=2)) as source:
        assert (source.info.kind, source.info.frames, source.info.rate, source.info.duration) == ("images", 3, 2, 1.5)
        assert [frame.pts_seconds for frame in source] == [0, 0.5, 1.0]
        source.seek(0.6)
        assert next(source).pts_seconds == 1.0
        source.seek(0.5, before=True)
        assert next(source).pts_seconds == 0
    assert greys(folder, image_rate=1, start=1) == [20, 30]
    assert greys(folder, image_rate=1, end=2) == [10, 20]
    assert greys(folder, loop=True, max_frames=5) == [10, 20, 30, 10, 20]
    assert greys(folder, image_rate=1, loop=True, start=0.4, max_frames=4) == [20, 30, 20, 30]
    assert greys(folder, image_rate=1, loop=True, end=2, max_frames=5) == [10, 20, 10, 20, 10]
    assert greys(folder, image_rate=1, loop=True, start=0.4, end=0.6) == []
    assert greys(folder, image_rate=5, end=0.2) == [10]  # 0.2 is a little more than a fifth
    assert greys(folder, image_rate=0.0001) == [10, 20, 30]
    with pytest.raises(SourceError, match=r"ends at 2\.00 s, before --start 2\.5"):
        open_source(folder, SourceOptions(image_rate=1, start=2.5))


def test_images_that_were_asked_for_can_be_played_again(folder: Path) -> None:
    (folder / "a0.png").write_bytes(b"no image")  # is left out and not counted

    def play(seconds: float, before: bool = False) -> list[int]:
        source.seek(seconds, before)
        return [round(float(frame.image.mean())) for frame in source]

    with open_source(folder, SourceOptions(image_rate=1, max_frames=2)) as source:
        assert [round(float(frame.image.mean())) for frame in source] == [10, 20]
        assert source.state == "ended"
        assert play(0) == [10, 20] and play(1) == play(2) == [20] and play(3) == play(99) == [20]
        assert play(2, before=True) == [20] and play(1, before=True) == [10, 20]
    with open_source(folder, SourceOptions(image_rate=1, max_frames=4, loop=True)) as source:
        assert [round(float(frame.image.mean())) for frame in source] == [10, 20, 30, 10]
        assert play(2) == [20, 30, 10, 20]


def test_patterns_relative_to_the_folder_one_is_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert greys("*.bmp") == [30]
    assert greys("deep/*") == [40, 50]
    assert greys(Path("deep")) == [40, 50]


def test_globs_of_videos(folder: Path) -> None:
    write_video(folder / "one.mp4", 4)
    with open_source(f"{folder}/*.mp4") as source:
        assert source.info.kind == "file" and sum(1 for _ in source) == 4
    write_video(folder / "two.mp4", 4)
    with pytest.raises(SourceError, match="several sources"):
        open_source(f"{folder}/*.mp4")
    with pytest.raises(SourceError, match=r"notes\.txt, which is no image"):
        open_source(f"{folder}/*.[jJtT]*")


def test_nothing_to_read(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "broken.png").write_bytes(b"no image")
    for spec, words in (
        (folder / "empty", "without images"),
        (f"{folder}/*.gif", "nothing matches"),
        ([], "empty"),
        ([folder / "missing.png"], r"missing\.png"),
        (folder / "broken.png", r"broken\.png"),
    ):
        with pytest.raises(SourceError, match=words) as caught:
            open_source(spec)
        assert "\n" not in str(caught.value)


def test_a_glob_becomes_a_video(folder: Path) -> None:
    summary = segstream.record(f"{folder}/*.[pJb]*", folder / "out.mp4", model=Quick(), image_rate=10)
    assert summary.frames == 3
    assert [float(time) for time in read_video(folder / "out.mp4").times] == pytest.approx([0, 0.1, 0.2])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright_however_the_camera_was_held(tmp_path: Path, suffix: str, orientation: int) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32], pixels[:24, 32:], pixels[24:, :32] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    image = read_image(path)
    assert image.shape == wanted.shape and image.flags.c_contiguous
    assert np.abs(image.astype(int) - wanted).mean() < 6


def test_a_gif_that_moves_is_a_video(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((48, 64, 3), grey, np.uint8)) for grey in (10, 90, 170)]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:], duration=100)
    frames[0].save(tmp_path / "still.gif")
    with open_source(tmp_path / "moves.gif") as source:
        assert source.info.kind == "file"
        assert [(round(f.image.mean()), round(f.pts_seconds, 3)) for f in source] == [(10, 0), (90, 0.1), (170, 0.2)]
    with open_source(tmp_path / "still.gif") as source:
        assert source.info.kind == "images" and [round(frame.image.mean()) for frame in source] == [10]
