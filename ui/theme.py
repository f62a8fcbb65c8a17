"""Colours and the style sheet of the two themes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from string import Template

from PyQt6.QtGui import QColor, QPalette
from PyQt6.QtWidgets import QWidget


@dataclass(frozen=True)
class Theme:
    """Colours by use, as #rrggbb."""

    window: str
    canvas: str  # behind the picture
    card: str
    raised: str  # buttons and fields
    hover: str
    line: str
    text: str
    dim: str
    accent: str
    on_accent: str
    live: str
    bad: str
    bad_card: str
    series: tuple[str, ...]  # stages in the plots; told apart by colour-blind people (after Okabe and Ito)


DARK = Theme(
    window="#101318",
    canvas="#08090c",
    card="#181c23",
    raised="#232933",
    hover="#2e3542",
    line="#2a303b",
    text="#e8ebf0",
    dim="#99a3b3",
    accent="#5aa7ff",
    on_accent="#06121f",
    live="#3ecf8e",
    bad="#ff6b6b",
    bad_card="#3a1d22",
    series=("#56b4e9", "#e69f00", "#2fbf9b", "#f0e442", "#cc79a7", "#d55e00", "#b3b9c4"),
)

LIGHT = Theme(
    window="#eef0f4",
    canvas="#dfe2e8",
    card="#ffffff",
    raised="#e3e7ee",
    hover="#d6dce6",
    line="#d5dae2",
    text="#1b212b",
    dim="#5c6675",
    accent="#1769d2",
    on_accent="#ffffff",
    live="#0d8f5b",
    bad="#c92a2a",
    bad_card="#fde8e8",
    series=("#0072b2", "#d98200", "#009e73", "#b5a400", "#b5568c", "#c24e00", "#6b7280"),
)

THEMES = {"dark": DARK, "light": LIGHT}

_SHEET = Template("""
* { font-size: 13px; color: $text; }
QMainWindow, QDialog, #page, #side, #sideBody { background: $window; }
QToolTip { background: $card; color: $text; border: 1px solid $line; padding: 4px 6px; }
#card { background: $card; border: 1px solid $line; border-radius: 10px; }
#bar { background: $window; }
QLabel { background: transparent; }
#dim { color: $dim; }
#tiny { color: $dim; font-size: 9px; }
#small { color: $dim; font-size: 11px; }
#value { font-size: 14px; font-weight: 600; }
#heading { color: $dim; font-size: 11px; font-weight: 600; }
#sentence { font-size: 15px; font-weight: 600; }
QDialog { border: 1px solid $line; }
#title { font-size: 30px; font-weight: 700; }
#subtitle { font-size: 15px; color: $dim; }
#live { color: $live; font-weight: 600; }
#message { background: $card; border: 1px solid $line; border-radius: 8px; }
#chip { background: $card; border: 1px solid $line; border-radius: 7px; }
#message[kind="error"] { background: $bad_card; border: 1px solid $bad; }
QPushButton, QToolButton { background: $raised; border: 1px solid transparent; border-radius: 7px; padding: 5px 12px; }
QToolButton { padding: 5px; background: transparent; }
QPushButton:hover, QToolButton:hover { background: $hover; }
QPushButton:pressed, QToolButton:pressed { background: $line; }
QPushButton:focus, QToolButton:focus, QComboBox:focus, QSpinBox:focus, QDoubleSpinBox:focus, QLineEdit:focus
    { border: 1px solid $accent; }
QPushButton:disabled, QToolButton:disabled, QComboBox:disabled { color: $dim; }
QPushButton:checked { background: $accent; color: $on_accent; }
QToolButton:checked { background: $hover; }
QToolButton::menu-indicator { image: none; }
#primary { background: $accent; color: $on_accent; font-weight: 600; padding: 9px 18px; }
#primary:hover { background: $accent; border: 1px solid $text; }
#segment { border-radius: 0; padding: 4px 11px; }
#segment[place="first"] { border-top-left-radius: 7px; border-bottom-left-radius: 7px; }
#segment[place="last"] { border-top-right-radius: 7px; border-bottom-right-radius: 7px; }
#row { text-align: left; background: transparent; padding: 6px 10px; }
#row:hover { background: $hover; }
#legendRow { text-align: left; background: transparent; padding: 1px 4px; border-radius: 5px; }
#legendRow:hover { background: $hover; }
QComboBox, QSpinBox, QDoubleSpinBox, QLineEdit {
    background: $raised; border: 1px solid transparent; border-radius: 7px; padding: 3px 8px; min-height: 20px;
    selection-background-color: $accent; selection-color: $on_accent; }
QComboBox:hover, QSpinBox:hover { background: $hover; }
QComboBox::drop-down { border: none; width: 0; }
QComboBox QAbstractItemView, QMenu { background: $card; border: 1px solid $line; padding: 4px; outline: 0;
    selection-background-color: $hover; selection-color: $text; }
QMenu::item { padding: 6px 22px 6px 14px; border-radius: 5px; }
QMenu::item:selected { background: $hover; }
QMenu::item:disabled { color: $dim; }
QMenu::separator { height: 1px; background: $line; margin: 4px 8px; }
QSpinBox::up-button, QSpinBox::down-button { width: 0; border: none; }
QSlider { min-height: 20px; }
QSlider::groove:horizontal { height: 4px; border-radius: 2px; background: $line; }
QSlider::sub-page:horizontal { height: 4px; border-radius: 2px; background: $accent; }
QSlider::sub-page:horizontal:disabled { background: $line; }
QSlider::handle:horizontal { width: 14px; height: 14px; margin: -5px 0; border-radius: 7px; background: $text; }
QSlider::handle:horizontal:hover, QSlider::handle:horizontal:focus { background: $accent; }
QSlider::handle:horizontal:disabled { background: $dim; }
QScrollArea { background: transparent; border: none; }
QScrollBar:vertical { width: 8px; background: transparent; margin: 0; }
QScrollBar::handle:vertical { background: $line; border-radius: 4px; min-height: 30px; }
QScrollBar::add-line, QScrollBar::sub-line { height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
""")


def apply(window: QWidget, name: str) -> Theme:
    """Dress a window and its dialogs; returns the theme's colours."""
    theme = THEMES[name]
    palette = QPalette()
    colours = {
        QPalette.ColorRole.Window: theme.window,
        QPalette.ColorRole.Base: theme.card,
        QPalette.ColorRole.AlternateBase: theme.raised,
        QPalette.ColorRole.Button: theme.raised,
        QPalette.ColorRole.Text: theme.text,
        QPalette.ColorRole.WindowText: theme.text,
        QPalette.ColorRole.ButtonText: theme.text,
        QPalette.ColorRole.ToolTipBase: theme.card,
        QPalette.ColorRole.ToolTipText: theme.text,
        QPalette.ColorRole.PlaceholderText: theme.dim,
        QPalette.ColorRole.Highlight: theme.accent,
        QPalette.ColorRole.HighlightedText: theme.on_accent,
    }
    for role, colour in colours.items():
        palette.setColor(role, QColor(colour))
    window.setPalette(palette)
    values = {key: value for key, value in asdict(theme).items() if isinstance(value, str)}
    window.setStyleSheet(_SHEET.substitute(values))
    return theme
