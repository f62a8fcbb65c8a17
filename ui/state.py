"""What the viewer shows and is set to, without Qt: one model that widgets read, change and subscribe to.

Only the thread of the window writes the model. What other threads find out reaches it through `segstream.ui.bridge`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from segstream.errors import UsageError

VIEWS = ("overlay", "mask", "split", "source")
POLICIES = ("learned", "heuristic", "random", "high", "low")
THEMES = ("dark", "light")
SPEEDS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)
RECENT_LIMIT = 8

# Where playback stands.
EMPTY, OPENING, PLAYING, PAUSED, ENDED, FAILED = "empty", "opening", "playing", "paused", "ended", "failed"


@dataclass(frozen=True)
class Settings:
    """Everything a user can set; all of it is remembered from one start to the next.

    Attributes:
        model: name or path of a model, or "" for the default one.
        policy: name of a policy, or "" for the model's own.
        threshold: blocks scored above it run at high resolution, 0..1; None takes the model's own for the policy.
        budget: at most this share of blocks runs at high resolution, 0..1.
        target_fps: the budget adapts to reach it; 0 leaves the budget alone.
        alpha: opacity of the class colours, 0..1.
        divider: where the split view changes from source to overlay, 0..1 of the frame's width.
        hidden: classes that are not painted, by name.
        palette: name of a palette, or "" for the model's own colours.
        recent: sources opened before, newest first.
        geometry: size and place of the window, as Qt packs them.
    """

    model: str = ""
    device: str = "auto"
    policy: str = ""
    threshold: float | None = None
    budget: float = 1.0
    target_fps: float = 0.0
    view: str = "overlay"
    alpha: float = 0.5
    grid: bool = True
    divider: float = 0.5
    palette: str = ""
    hidden: frozenset[str] = frozenset()
    speed: float = 1.0
    loop: bool = False
    theme: str = "dark"
    panel: bool = True
    plots: bool = True
    recent: tuple[str, ...] = ()
    geometry: str = ""

    def changed(self, **changes: Any) -> Settings:
        """These settings with some of them changed.

        Raises:
            UsageError: if a name or a value is not allowed; the message lists what is.
        """
        return replace(self, **{name: _checked(name, value) for name, value in changes.items()})


_CHOICES = {"view": VIEWS, "policy": ("", *POLICIES), "theme": THEMES}
_RANGES = {
    "threshold": (0.0, 1.0),
    "budget": (0.0, 1.0),
    "alpha": (0.0, 1.0),
    "divider": (0.0, 1.0),
    "target_fps": (0.0, 240.0),
    "speed": (SPEEDS[0], SPEEDS[-1]),
}
_DEFAULTS = Settings()


def _checked(name: str, value: Any) -> Any:
    if name not in Settings.__dataclass_fields__:
        known = ", ".join(f.name for f in fields(Settings))
        raise UsageError(f"there is no setting {name!r}; the settings are: {known}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise UsageError(f"{name} is {value!r}, but must be one of: {', '.join(filter(None, _CHOICES[name]))}")
    if name == "threshold" and value is None:
        return None
    if name in _RANGES:
        low, high = _RANGES[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UsageError(f"{name} is {value!r}, but must be a number from {low:g} to {high:g}")
        return float(value)
    if name in ("recent", "hidden"):
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise UsageError(f"{name} is {value!r}, but must be a list of names")
        items = [str(item) for item in value]
        return frozenset(items) if name == "hidden" else tuple(dict.fromkeys(items))[:RECENT_LIMIT]
    kind = type(getattr(_DEFAULTS, name))
    if not isinstance(value, kind):
        raise UsageError(f"{name} is {value!r}, but must be {'text' if kind is str else 'true or false'}")
    return value


@dataclass(frozen=True)
class Network:
    """What is known of the network that runs.

    Attributes:
        engine: name of the engine, to show.
        policy: the model's own policy.
        thresholds: the model's own threshold by policy; policies it does not have are missing.
    """

    model: str = ""
    engine: str = ""
    classes: tuple[str, ...] = ()
    colours: tuple[tuple[int, int, int], ...] = ()
    policy: str = "learned"
    thresholds: dict[str, float] = field(default_factory=dict)

    def policy_for(self, wanted: str) -> str:
        """The policy that runs when `wanted` is set: the model's own where it has no such policy."""
        return wanted if wanted in self.thresholds else self.policy


@dataclass(frozen=True)
class Source:
    """What is known of the open source.

    Attributes:
        name: to show; never with credentials.
        live: it cannot be paused, stepped or sought.
        size: width and height in pixels.
        pixel_aspect: width of a pixel over its height.
        duration: seconds, or None where unknown.
        fps: frames per second that the source promises, or None.
    """

    name: str = ""
    spec: str = ""
    live: bool = False
    seekable: bool = False
    size: tuple[int, int] = (0, 0)
    pixel_aspect: float = 1.0
    duration: float | None = None
    fps: float | None = None


@dataclass(frozen=True)
class Playback:
    """Where playback stands.

    Attributes:
        status: one of "empty", "opening", "playing", "paused", "ended", "failed".
        position: seconds of the frame that is shown.
        connection: for live sources "connecting", "connected", "reconnecting" or "lost".
        detail: why, for the last two.
        dropped: frames a live source dropped in favour of newer ones.
        latency_ms: from capture to display, for live sources.
        recording: path of the file being recorded, or "".
        busy: what a worker is doing ("loading swiftnet-rn18"), or "".
        network: what segments, once it is loaded.
        allowed: the share of blocks that target_fps allows at present, 0..1.
    """

    status: str = EMPTY
    source: Source = field(default_factory=Source)
    position: float = 0.0
    connection: str = ""
    detail: str = ""
    dropped: int = 0
    latency_ms: float = 0.0
    recording: str = ""
    busy: str = ""
    network: Network = field(default_factory=Network)
    allowed: float = 1.0

    @property
    def can_seek(self) -> bool:
        return self.source.seekable and self.status in (PLAYING, PAUSED, ENDED)

    @property
    def can_pause(self) -> bool:
        return self.status in (PLAYING, PAUSED, ENDED)


Subscriber = Callable[[frozenset[str]], None]


class ViewerState:
    """Settings and playback, with subscribers that are told the names of what changed.

    A subscriber may change the state again: that change is told after the present one, so everybody sees both in
    the same order.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.playback = Playback()
        self.message = ""  # an error or a note to show, one sentence
        self.message_kind = "note"  # "note" or "error"
        self._subscribers: list[tuple[frozenset[str], Subscriber]] = []
        self._pending: list[frozenset[str]] = []
        self._telling = False

    def subscribe(self, callback: Subscriber, *names: str) -> Callable[[], None]:
        """Call `callback(changed names)` whenever one of `names` (all, when empty) changes; returns the way out."""
        entry = (frozenset(names), callback)
        self._subscribers.append(entry)

        def leave() -> None:
            if entry in self._subscribers:
                self._subscribers.remove(entry)

        return leave

    def set(self, **changes: Any) -> None:
        """Change settings by name."""
        before = self.settings
        self.settings = before.changed(**changes)
        self._tell(before, self.settings)

    def play(self, **changes: Any) -> None:
        """Change what is known of playback."""
        before = self.playback
        self.playback = replace(before, **changes)
        self._tell(before, self.playback)

    def say(self, text: str, kind: str = "note") -> None:
        """Show one sentence; an empty one takes the last away."""
        self.message, self.message_kind = text, kind
        self._publish(frozenset(("message",)))

    def remember(self, spec: str) -> None:
        """Put a source at the head of the recent ones."""
        self.set(recent=(spec, *(item for item in self.settings.recent if item != spec)))

    def toggle_class(self, name: str) -> None:
        """Hide a class that is shown, or show it again."""
        self.set(hidden=self.settings.hidden ^ {name})

    def step_speed(self, steps: int) -> None:
        """Go up or down the ladder of playback speeds."""
        nearest = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - self.settings.speed))
        self.set(speed=SPEEDS[max(0, min(len(SPEEDS) - 1, nearest + steps))])

    def _tell(self, before: Any, after: Any) -> None:
        changed = frozenset(f.name for f in fields(after) if getattr(before, f.name) != getattr(after, f.name))
        if changed:
            self._publish(changed)

    def _publish(self, changed: frozenset[str]) -> None:
        self._pending.append(changed)
        if self._telling:
            return
        self._telling = True
        try:
            while self._pending:
                names = self._pending.pop(0)
                for wanted, callback in tuple(self._subscribers):
                    if not wanted or wanted & names:
                        callback(names)
        finally:
            self._telling = False
            self._pending.clear()
