"""A video in several files: NAME-000, NAME-001 and so on, also over several recordings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

# The comment of a file that is a part, so that nothing else is taken for one, like "drive-720.mp4" beside "drive.mp4".
PART_COMMENT = "one part of a recording by segstream"
_LOOKED_AT = 16_384  # bytes at each end of a file; the comment is at the begin, and in a finished MP4 at the end


def part_name(path: Path, number: int) -> Path:
    """The file for part `number` of the video `path`."""
    return path.with_name(f"{path.stem}-{number:03d}{path.suffix}")


def parts_there(path: Path) -> dict[int, Path]:
    """What has the name of a part of the video `path`, by number.

    Seven digits and more are no number: a year of ten-second parts does not come to that, but a date does.
    """
    pattern = re.compile(re.escape(path.stem) + r"-(\d{3,6})" + re.escape(path.suffix), re.ASCII)
    try:
        entries = sorted(path.parent.iterdir())
    except OSError:  # no such folder, or one that cannot be read; whoever writes there will say so
        return {}
    found: dict[int, Path] = {}
    for entry in entries:
        match = pattern.fullmatch(entry.name)
        if match and entry.name == part_name(path, int(match[1])).name:
            found[int(match[1])] = entry
    return found


def recorded_parts(path: Path) -> dict[Path, int]:
    """The parts of the video `path` that recordings have left, and when each was modified, in nanoseconds."""
    found: dict[Path, int] = {}
    for part in parts_there(path).values():
        with suppress(OSError):  # what cannot be read is not known to be a part, and stays
            if part.is_file() and _has_comment(part):
                found[part] = part.stat().st_mtime_ns
    return found


def _has_comment(part: Path) -> bool:
    """Whether a recording says that it is a part. Not asked of FFmpeg, which would decode some of each file."""
    comment = PART_COMMENT.encode()
    with open(part, "rb") as file:
        if comment in file.read(_LOOKED_AT):
            return True
        file.seek(max(0, part.stat().st_size - _LOOKED_AT))
        return comment in file.read(_LOOKED_AT)


def remove_oldest(
    path: Path, ours: Collection[Path], earlier: Mapping[Path, int], keep_bytes: int
) -> tuple[list[Path], list[str]]:
    """Remove parts of the video `path`, the oldest first and never the newest, until they fit into `keep_bytes`.

    Args:
        path: the video.
        ours: parts that this recording has written. Those of earlier ones are older, whatever their numbers.
        earlier: those of earlier ones, as `recorded_parts` found them when this recording began. One that has been
            modified since is another recorder's, who may still write it: it neither counts nor goes.
        keep_bytes: what all together may have.

    Returns:
        what was removed, and a sentence about what could not be.
    """
    there = parts_there(path)
    numbers = sorted(there, key=lambda number: (there[number] in ours, number))
    sizes: dict[Path, int] = {}
    for part in (there[number] for number in numbers):
        with suppress(OSError):  # somebody else has removed it
            if part.is_file() and (part in ours or earlier.get(part) == part.stat().st_mtime_ns):
                sizes[part] = part.stat().st_size
    total = sum(sizes.values())
    removed: list[Path] = []
    notes: list[str] = []
    for part in list(sizes)[:-1]:
        if total <= keep_bytes:
            break
        try:
            part.unlink(missing_ok=True)
        except OSError as error:  # no reason to end the recording
            notes.append(f"{part} cannot be removed to make room ({error.strerror}); remove it yourself")
            continue
        removed.append(part)
        total -= sizes[part]
    return removed, notes
