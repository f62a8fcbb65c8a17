"""The menu: everything that can be opened, saved and shown, for those who have not learned the keys yet."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PyQt6.QtWidgets import QMenu

from segstream.ui.keys import KEYS, key_of

if TYPE_CHECKING:
    from segstream.ui.window import Window

_SECTIONS = (
    ("open", "camera", "address"),
    ("view_overlay", "view_mask", "view_split", "view_source", "grid"),
    ("screenshot", "copy", "save_mask", "record"),
    ("statistics", "panel", "fullscreen", "theme", "help"),
    ("close_source", "quit"),
)
_NEED_A_PICTURE = (*_SECTIONS[1], "screenshot", "copy", "save_mask", "record", "statistics", "panel")


def make_menu(window: Window) -> QMenu:
    """The menu as it is now, with the sources opened before."""
    menu = QMenu(window)
    texts = {key.action: key.text for key in KEYS}
    watching = window.picture.result is not None
    for section in _SECTIONS:
        for action in section:
            item = menu.addAction(f"{texts[action]}\t{key_of(action)}", partial(window.actions_.run, action))
            if item is not None:
                item.setEnabled(watching or action not in _NEED_A_PICTURE)
        if section is _SECTIONS[0]:
            menu.addAction("Demo", partial(window.actions_.run, "demo"))
            _add_recent(menu, window)
        menu.addSeparator()
    return menu


def _add_recent(menu: QMenu, window: Window) -> None:
    recent = menu.addMenu("Recent")
    if recent is not None:
        recent.setEnabled(bool(window.state.settings.recent))
        for spec in window.state.settings.recent:
            recent.addAction(window.actions_.name_of(spec).replace("&", "&&"), partial(window.open, spec))
