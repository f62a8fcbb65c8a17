"""Masks as palette PNG, JSON lines, COCO's run-length encoding."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import segstream
from segstream.errors import OutputError
from segstream.frames import Frame
from segstream.sinks import JsonlSink, coco_rle
from segstream.sinks.masks import palette_png
from tests.segstream.media import PALETTE, Quick, files_end_at, write_video


def decode_rle(rle: dict) -> np.ndarray:
    """COCO's decoder, written from its description."""
    counts, at, text = [], 0, rle["counts"]
    while at < len(text):
        value = shift = 0
        while True:
            bits = ord(text[at]) - 48
            at += 1
            value |= (bits & 0x1F) << shift
            shift += 5
            if not bits & 0x20:
                if bits & 0x10:
                    value -= 1 << shift
                break
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    height, width = rle["size"]
    flat = np.concatenate([np.full(count, i % 2, bool) for i, count in enumerate(counts)] or [np.zeros(0, bool)])
    return flat.reshape(width, height).T


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_rle_comes_back(height: int, width: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    assert np.array_equal(decode_rle(coco_rle(mask)), mask)


def test_rle_is_what_pycocotools_writes() -> None:
    # pycocotools 2.0.11: mask.encode(np.asfortranarray(mask))["counts"] of these masks
    mask = np.zeros((6, 5), bool)
    mask[1:4, 2:4] = True
    assert coco_rle(mask) == {"size": [6, 5], "counts": "=3305"}
    y, x = np.mgrid[:60, :80]
    disc = (y - 30) ** 2 + (x - 40) ** 2 < 20**2
    assert (
        coco_rle(disc)["counts"]
        == "TX1=]14L4M2M4M2N2O0O2N2O0O2O0O2O000000000000000000000001N101N101N2N101N2N3L3N3L4LjT1"
    )


def test_png_holds_indices_and_palette(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (37, 53)).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(palette_png(labels, PALETTE))
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], PALETTE[labels])
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == "pal8"
        indices = np.frombuffer(frame.planes[0], np.uint8).reshape(37, -1)[:, :53]
    assert np.array_equal(indices, labels)


def test_one_mask_and_one_line_per_frame(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", 6)
    summary = segstream.record(
        str(source), None, model=Quick(), save_masks=tmp_path / "masks", save_jsonl=tmp_path / "a.jsonl", rle=True
    )
    assert [path.name for path in sorted((tmp_path / "masks").iterdir())] == [f"{i:06d}.png" for i in range(6)]
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(6))
    for line in lines:
        assert set(line) >= {"index", "pts_seconds", "blocks", "block_px", "high_share", "gmacs", "classes", "ms"}
        assert sum(line["classes"].values()) == pytest.approx(1, abs=1e-3)
        assert np.array(line["blocks"]).shape == (2, 3)
        assert sum(decode_rle(rle).sum() for rle in line["rle"].values()) == 96 * 64
        assert "file" not in line
    assert summary.outputs == (tmp_path / "masks", tmp_path / "a.jsonl")


def test_lines_of_images_name_the_image_of_each_mask(tmp_path: Path) -> None:
    """One that cannot be read shifts the numbers of those after it."""
    photos = tmp_path / "photos"
    photos.mkdir()
    images = [photos / name for name in ("a.png", "broken.png", "c.png")]
    for path in images:
        Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(path)
    images[1].write_bytes(b"no image")
    segstream.record(photos, None, model=Quick(), save_masks=tmp_path / "masks", save_jsonl=tmp_path / "a.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [(line["index"], line["file"]) for line in lines] == [(0, str(images[0])), (1, str(images[2]))]
    assert [path.name for path in sorted((tmp_path / "masks").iterdir())] == ["000000.png", "000001.png"]


def test_after_a_failure_the_unfinished_lines_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("segstream"), "propagate", True)  # the command line turns it off
    caplog.set_level(logging.WARNING, "segstream")
    source = write_video(tmp_path / "in.mp4", 9)
    (tmp_path / "a.jsonl").write_text("precious")
    (tmp_path / "b.mp4").write_bytes(b"precious")

    class Failing(Quick):
        def __call__(self, frame, *previous):
            if frame.index == 6:
                raise RuntimeError("the device is lost")
            return super().__call__(frame, *previous)

    with pytest.raises(segstream.SegstreamError, match="device is lost"):
        segstream.record(source, tmp_path / "b.mp4", model=Failing(), save_jsonl=tmp_path / "a.jsonl", overwrite=True)
    assert (tmp_path / "a.jsonl").read_text() == "precious"
    assert len((tmp_path / "a.part.jsonl").read_text().splitlines()) == 6
    said = caplog.messages
    assert any("old a.jsonl is untouched" in text and str(tmp_path / "a.part.jsonl") in text for text in said)
    assert any("old b.mp4 is untouched" in text and str(tmp_path / "b.part.mp4") in text for text in said)
    # Where nothing was written, nothing is left to be named.
    with pytest.raises(OutputError):
        segstream.record(
            source, tmp_path / "no" / "c.mp4", model=Quick(), save_jsonl=tmp_path / "a.jsonl", overwrite=True
        )
    sink = JsonlSink(tmp_path / "a.jsonl", overwrite=True)
    sink.abort()
    assert sink.notes == []
    assert sorted(path.name for path in tmp_path.glob("a*")) == ["a.jsonl", "a.part.jsonl"]


@pytest.mark.parametrize("written", [0, 3])
def test_lines_that_a_full_disk_ends_are_named(tmp_path: Path, written: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("precious")
    frame = Frame(image=np.zeros((8, 8, 3), np.uint8), pts_seconds=0.0)
    sink = JsonlSink(path, overwrite=True)
    for _ in range(written):
        sink.write(Quick()(frame), None)
    with files_end_at(sum(part.stat().st_size for part in tmp_path.glob("a.part*")) + 20):
        with pytest.raises(OutputError, match="File too large"):
            sink.write(Quick()(frame), None)
        sink.abort()
    assert sink.notes == [f"the old a.jsonl is untouched, the new one is {tmp_path / 'a.part.jsonl'}"]
    assert path.read_text() == "precious"


def test_lines_that_cannot_take_their_place_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("precious")
    sink = JsonlSink(path, overwrite=True)
    sink.write(Quick()(Frame(image=np.zeros((8, 8, 3), np.uint8), pts_seconds=0.0)), None)
    path.unlink()
    path.mkdir()
    with pytest.raises(OutputError, match="cannot be written any further"):
        sink.close()
    assert sink.notes == [f"the old a.jsonl is untouched, the new one is {tmp_path / 'a.part.jsonl'}"]


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_lines_go_into_a_pipe_and_through_a_link_to_nothing_yet(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "lines.jsonl", tmp_path / "elsewhere.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    else:
        path.symlink_to(target)
    sink = JsonlSink(path)
    frame = Frame(image=np.zeros((8, 8, 3), np.uint8), index=3, pts_seconds=0.0)
    sink.write(Quick()(frame), None)
    sink.close()
    if kind == "pipe":
        written = os.read(reader, 100_000)
        os.close(reader)
    else:
        written = target.read_bytes()
    assert json.loads(written)["index"] == 3
    assert path.is_fifo() if kind == "pipe" else path.is_symlink()


def test_nothing_that_was_there_is_harmed(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", 3)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "mine.png").write_bytes(b"precious")
    (tmp_path / "a.jsonl").write_text("precious")
    with pytest.raises(OutputError, match="already holds"):
        segstream.record(str(source), None, model=Quick(), save_masks=tmp_path / "masks")
    with pytest.raises(OutputError, match="exists"):
        segstream.record(str(source), None, model=Quick(), save_jsonl=tmp_path / "a.jsonl")
    with pytest.raises(OutputError, match="cannot be made"):
        segstream.record(str(source), None, model=Quick(), save_masks=tmp_path / "no" / "masks")
    assert (tmp_path / "a.jsonl").read_text() == "precious"


def test_masks_from_before_that_stay_are_told(tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4", 5)
    segstream.record(str(video), save_masks=tmp_path / "masks", model=Quick())
    again = segstream.record(str(video), save_masks=tmp_path / "masks", model=Quick(), overwrite=True)
    assert again.notes == ()
    fewer = segstream.record(str(video), save_masks=tmp_path / "masks", model=Quick(), overwrite=True, max_frames=2)
    assert len(fewer.notes) == 1 and "still holds 3 PNG files from before" in fewer.notes[0]
