"""How much longer a recording takes than the network alone on the same frames, on this machine.

    python tests/segstream/bench_record.py VIDEO [--repeat 5] [--frames N] [--wait S]

In one process the network segments the decoded frames, the video is recorded, the network segments again, and so on:
the ratio of each recording is to the mean of the two beside it. Whatever else runs on the machine disturbs both, so
before each turn it waits until the processors are idle, and turns that others disturbed all the same are marked and
left out of the median. It ends with an error if the recording is not what it should be: frames, timestamps, sound.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from segstream.cli.main import settle_threads

settle_threads()

import segstream  # noqa: E402
from segstream.sources import open_source  # noqa: E402
from tests.segstream.media import read_video  # noqa: E402

_BUSY = 0.08  # share of the processors that others may use in a turn that counts


def processor_seconds() -> tuple[float, float]:
    """Processor seconds used since the start of the machine by everybody, and by this process."""
    with open("/proc/stat") as file:
        fields = [int(value) for value in file.readline().split()[1:]]
    everybody = (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
    return everybody, time.process_time()


def turn(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that some work takes, and the share of the processors that others used meanwhile."""
    all_before, own_before = processor_seconds()
    begin = time.perf_counter()
    work()
    seconds = time.perf_counter() - begin
    all_after, own_after = processor_seconds()
    others = (all_after - all_before) - (own_after - own_before)
    return seconds, max(0.0, others) / seconds / (os.cpu_count() or 1)


def wait_for_quiet(longest: float) -> None:
    end = time.monotonic() + longest
    while time.monotonic() < end and turn(lambda: time.sleep(0.5))[1] > _BUSY / 2:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--frames", type=int, default=None, help="only the first N frames")
    parser.add_argument("--wait", type=float, default=30, help="longest wait for an idle machine, in seconds")
    options = parser.parse_args()
    segmenter = segstream.Segmenter(device="cpu")
    with open_source(options.video) as source:
        frames = [frame for frame, _ in zip(source, range(options.frames or 10**9), strict=False)]

    def alone() -> None:
        for frame in frames:
            segmenter(frame)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"

        def record() -> None:
            segstream.record(
                str(options.video), out, model=segmenter, overwrite=True, max_frames=options.frames, draw=None
            )

        for frame in frames[:5]:
            segmenter(frame)
        ratios: list[tuple[float, bool]] = []
        for _ in range(options.repeat):
            wait_for_quiet(options.wait)
            (first, busy1), (recorded, busy2), (second, busy3) = turn(alone), turn(record), turn(alone)
            ratio, busy = recorded / ((first + second) / 2), max(busy1, busy2, busy3)
            ratios.append((ratio, busy <= _BUSY))
            print(
                f"alone {first:.2f} s, recording {recorded:.2f} s, alone {second:.2f} s: {ratio:.3f}"
                f"{'' if busy <= _BUSY else f'  (others used {busy:.0%} of the processors)'}",
                flush=True,
            )
        before, after = read_video(options.video), read_video(out)
    count = len(frames)
    if after.times != before.times[:count] or (options.frames is None and len(after.audio) != len(before.audio)):
        print("the recording does not have the source's timestamps and sound", file=sys.stderr)
        return 1
    quiet = [ratio for ratio, is_quiet in ratios if is_quiet]
    print(
        f"{count} frames of {options.video.name}: median {statistics.median(quiet or [r for r, _ in ratios]):.3f}, "
        f"best {min(quiet or [r for r, _ in ratios]):.3f} of {len(quiet)} undisturbed turns"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
