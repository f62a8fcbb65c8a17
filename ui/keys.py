"""The keys of the viewer, as players have taught them: one table for the window, the help page and the tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """One action: its name in the window, the keys that start it (Qt's notation; the first is shown), what it does."""

    action: str
    keys: tuple[str, ...]
    text: str
    group: str


KEYS: tuple[Key, ...] = (
    Key("play_pause", ("Space", "P"), "Play or pause", "Playback"),
    Key("step_forward", (".",), "One frame on", "Playback"),
    Key("step_back", (",",), "One frame back", "Playback"),
    Key("forward_5", ("Right",), "5 s on", "Playback"),
    Key("back_5", ("Left",), "5 s back", "Playback"),
    Key("forward_1", ("Shift+Right",), "1 s on", "Playback"),
    Key("back_1", ("Shift+Left",), "1 s back", "Playback"),
    Key("forward_60", ("Up",), "1 min on", "Playback"),
    Key("back_60", ("Down",), "1 min back", "Playback"),
    Key("to_start", ("Home",), "To the start", "Playback"),
    Key("slower", ("[",), "Slower", "Playback"),
    Key("faster", ("]",), "Faster", "Playback"),
    Key("normal_speed", ("Backspace",), "Normal speed", "Playback"),
    Key("loop", ("L",), "Loop", "Playback"),
    Key("view_overlay", ("1",), "Overlay", "Picture"),
    Key("view_mask", ("2",), "Mask", "Picture"),
    Key("view_split", ("3",), "Split: source and overlay", "Picture"),
    Key("view_source", ("4",), "Source", "Picture"),
    Key("grid", ("G",), "Block grid", "Picture"),
    Key("more_opaque", ("A",), "More colour", "Picture"),
    Key("less_opaque", ("Shift+A",), "Less colour", "Picture"),
    Key("zoom_in", ("+", "="), "Zoom in (or the wheel)", "Picture"),
    Key("zoom_out", ("-",), "Zoom out", "Picture"),
    Key("zoom_fit", ("0",), "Fit the window", "Picture"),
    Key("screenshot", ("S",), "Save a screenshot", "Save"),
    Key("copy", ("Ctrl+C",), "Copy the frame", "Save"),
    Key("save_mask", ("M",), "Save the mask", "Save"),
    Key("record", ("R",), "Record or stop", "Save"),
    Key("open", ("Ctrl+O", "O"), "Open a file", "Window"),
    Key("camera", ("C",), "Open a camera", "Window"),
    Key("address", ("U",), "Open an address", "Window"),
    Key("fullscreen", ("F", "F11"), "Full screen (or double click)", "Window"),
    Key("statistics", ("I",), "Statistics", "Window"),
    Key("panel", ("B", "F9"), "Side panel", "Window"),
    Key("theme", ("T",), "Dark or light", "Window"),
    Key("help", ("?", "F1"), "These keys", "Window"),
    Key("escape", ("Esc",), "Leave full screen", "Window"),
    Key("close_source", ("Ctrl+W",), "Close the source", "Window"),
    Key("quit", ("Q", "Ctrl+Q"), "Quit", "Window"),
)

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(key.group for key in KEYS))


def key_of(action: str) -> str:
    """The key to show for an action, with arrows for the arrow keys."""
    key = next(item for item in KEYS if item.action == action).keys[0]
    for name, arrow in (("Right", "→"), ("Left", "←"), ("Up", "↑"), ("Down", "↓")):
        key = key.replace(name, arrow)
    return key
