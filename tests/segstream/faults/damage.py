"""Reads damaged variants of a file and prints one JSON line for each: run by test_damaged.py, because it may crash.

python damage.py FILE COUNT FOLDER
"""

import json
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import av

from segstream.errors import SourceError
from segstream.sources import open_source
from tests.segstream.media import read_video


def damaged(data: bytes, seed: int) -> bytes:
    """A variant: cut off, bytes flipped, or a piece taken out, by the number."""
    dice = random.Random(seed)
    kind = seed % 4
    if kind == 0:
        return data[: dice.randrange(1, len(data))]
    if kind == 1:
        at = dice.randrange(len(data))
        return data[:at] + data[min(len(data), at + dice.randrange(1, 600)) :]
    changed = bytearray(data)
    for _ in range(dice.choice((1, 3, 10, 40)) if kind == 2 else 200):
        changed[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(changed)


def main() -> None:
    path, count, folder = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    data = path.read_bytes()
    for seed in range(count):
        variant = folder / f"{seed}{path.suffix}"
        variant.write_bytes(damaged(data, seed))
        print(json.dumps({"begin": seed}), flush=True)
        try:
            expected = len(read_video(variant).times)
        except (av.error.FFmpegError, IndexError, AttributeError, ValueError) as error:
            expected = -1
            del error
        begin = time.monotonic()
        complaint, counted = "", 0
        delivered = 0
        try:
            with open_source(variant) as source:
                delivered = sum(1 for _ in source)
                counted = source.warnings.errors + source.warnings.corrupt
        except SourceError as error:
            complaint = str(error)
        line = {
            "seed": seed,
            "expected": expected,
            "delivered": delivered,
            "seconds": time.monotonic() - begin,
            "complaint": complaint,
            "counted": counted,
        }
        print(json.dumps(line), flush=True)
        variant.unlink()


main()
