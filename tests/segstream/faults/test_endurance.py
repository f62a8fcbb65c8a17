"""Long runs: memory that does not grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.segstream.media import read_video, write_video


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_memory_after_20000_frames(tmp_path: Path, child, figure) -> None:
    video = write_video(tmp_path / "in.mp4", 100, (160, 96), audio="aac")
    process = child("endless.py", video, tmp_path / "out.mp4", 20_000)
    output, errors = process.communicate(timeout=380)
    assert process.returncode == 0, errors
    (first, early), (last, late) = (map(float, line.split()) for line in output.splitlines())
    assert (first, last) == (2_000, 20_000)
    assert late - early < 30
    assert len(read_video(tmp_path / "out.mp4").times) == 20_000
    figure("memory", f"{early:.0f} MB after 2,000 frames, {late:.0f} MB after 20,000 (sound copied, JSON lines)")
