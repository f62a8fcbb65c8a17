"""When the sound of a source is heard in a recording: at the time of the pictures it came with."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from av.packet import Packet

from segstream.sources.audio import AudioTap

# The sound's times have jumped where they go back by this much more than a packet's length, or ahead by that much.
_BACK, _AHEAD = 0.03, 60.0
# Sound may be met this long before the pictures that jump with it: seconds and frames.
_PATIENCE, _PATIENT_FRAMES = 2.0, 32
_NEAR = 10.0  # seconds between pictures and sound that a file may hold side by side
_NEARLY = 1.0  # seconds back that sound which jumps alone may be heard again, without being moved
_MAX_WAITING = 30_000  # packets; more are left to the tap, which throws the oldest away
_MAX_JUMPS = 16


@dataclass(frozen=True)
class _Jump:
    """The pictures' times jumped, and go on at `at` seconds of the recording, `shift` later than the source says."""

    back: bool
    at: float
    shift: float


@dataclass
class _Run:
    """Sound between two jumps of its times: (seconds of the source, length, packet).

    `seen` is how far the recording's pictures were when the first packet came.
    """

    back: bool
    seen: float
    packets: deque[tuple[float, float, Packet]] = field(default_factory=deque)


class Soundtrack:
    """The sound of a tap, placed in a recording. Lives as long as the sink, over all its files.

    The pictures of a recording follow each other though the source's times jump: at the start of each pass of a loop,
    where recordings were joined, after a camera was away for hours. The sound jumps there too, and is moved as the
    pictures are. Sound without pictures has no place: what a pass has left behind its last picture, and what comes
    before the first picture after a jump.

    All times are in seconds and count from where the tap's do.

    Args:
        tap: where the sound is taken from.
        step: seconds between pictures.
    """

    def __init__(self, tap: AudioTap, step: float) -> None:
        self.tap = tap
        self._patience = max(_PATIENCE, _PATIENT_FRAMES * step)
        self._runs = deque([_Run(False, 0.0)])  # the first is being given out
        self._jumps: deque[_Jump] = deque(maxlen=_MAX_JUMPS)
        self._shift = 0.0
        self._pictures = 0.0  # how far they are
        self._met: float | None = None  # end of the last packet from the tap, in the source's time
        self._end = 0.0  # of the last packet given out
        self._from = float("-inf")  # what comes before has no place any more

    def pictures_jumped(self, at: float, shift: float, back: bool) -> None:
        """From `at` on pictures come `shift` seconds later than the source says: its times went back or ahead."""
        self._jumps.append(_Jump(back, at, shift))

    def take(self, until: float, closing: bool = False) -> list[tuple[float, float, Packet]]:
        """Remove and return what begins before `until`: seconds of the recording, seconds of the source, packet.

        With `closing` a file ends there, and what waits for the pictures to jump with it is returned too. It goes on
        waiting, for the next file: where the pictures do jump its place is there.
        """
        if until < float("inf"):
            self._pictures = until
        self._collect()
        taken: list[tuple[float, float, Packet]] = []
        while True:
            following = self._runs[1] if len(self._runs) > 1 else None
            jump = None if following is None else self._jump_with(following)
            self._give(taken, until if jump is None else min(until, jump.at))
            if following is None or not self._follow(following, jump, until):
                if closing and following is not None and jump is None and not self._runs[0].packets:
                    taken.extend(self._waiting(following, until))
                return taken

    def _collect(self) -> None:
        if sum(len(run.packets) for run in self._runs) >= _MAX_WAITING:
            return
        for seconds, packet in self.tap.take(float("inf")):
            length = float((packet.duration or 0) * (packet.time_base or 0))
            ahead = 0.0 if self._met is None else seconds - self._met
            if ahead < -_BACK - length or ahead > _AHEAD:
                self._runs.append(_Run(ahead < 0, self._pictures))
            self._runs[-1].packets.append((seconds, length, packet))
            self._met = seconds + length

    def _jump_with(self, run: _Run) -> _Jump | None:
        """The pictures' jump that this sound has made with them, if they have come to it."""
        first = run.packets[0][0]
        fitting = [
            jump
            for jump in self._jumps
            if jump.back == run.back and abs(first + jump.shift - run.seen) < _NEAR + self._patience
        ]
        return min(fitting, key=lambda jump: abs(first + jump.shift - jump.at), default=None)

    def _give(self, taken: list[tuple[float, float, Packet]], until: float) -> None:
        packets = self._runs[0].packets
        while packets and packets[0][0] + self._shift < until:
            seconds, length, packet = packets.popleft()
            at = seconds + self._shift
            if at + length / 2 < self._from:
                continue
            self._from = float("-inf")
            self._end = at + length
            taken.append((at, seconds, packet))

    def _waiting(self, run: _Run, until: float) -> list[tuple[float, float, Packet]]:
        """What a run has between the sound given out and `until`, if it is heard there should it have jumped alone."""
        # One whose times went far back is most likely the next pass of a loop, and that of the last has just ended.
        if run.packets[0][0] + self._shift < self._end - _NEARLY:
            return []
        placed = [(seconds + self._shift, seconds, length, packet) for seconds, length, packet in run.packets]
        return [(at, seconds, packet) for at, seconds, length, packet in placed if self._end - length / 2 <= at < until]

    def _follow(self, following: _Run, jump: _Jump | None, until: float) -> bool:
        """Go on with the following run if it is time to."""
        at = following.packets[0][0] + self._shift
        if jump is not None:
            if until < jump.at:
                return False
            self._shift, self._from = jump.shift, max(jump.at, self._end)
            while self._jumps.popleft() is not jump:
                pass
        elif self._runs[0].packets:
            return False
        elif following.back:
            # The pictures have still to come to this jump, or will never make it: then the sound alone goes on.
            if until <= max(following.seen, self._end) + self._patience:
                return False
            if at < self._end - _NEARLY:
                self._shift += self._end - at
            self._from = self._end
        elif at >= until:
            return False
        self._runs.popleft()
        return True
