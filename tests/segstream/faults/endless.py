"""Records a looped video for many frames and prints the memory in use on the way: run by test_endurance.py.

python endless.py SOURCE OUT FRAMES
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import segstream
from tests.segstream.media import Quick


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def main() -> None:
    source, out, frames = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seen = 0

    class Watching(Quick):
        def __call__(self, frame, previous=None):
            nonlocal seen
            seen += 1
            if seen in (2_000, frames):
                print(seen, resident_mb(), flush=True)
            return super().__call__(frame)

    segstream.record(
        source, out, model=Watching(), loop=True, max_frames=frames, overwrite=True, save_jsonl=out + ".jsonl"
    )


main()
