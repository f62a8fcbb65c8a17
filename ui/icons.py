"""The viewer's icons: small drawings in SVG, coloured by the theme."""

from __future__ import annotations

from PyQt6.QtCore import QByteArray, QRectF, Qt
from PyQt6.QtGui import QIcon, QPainter, QPixmap
from PyQt6.QtSvg import QSvgRenderer

_FILLED = 'fill="{c}"'
_LINED = 'fill="none" stroke="{c}" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round"'
_SHAPES = {
    "play": f'<path {_FILLED} d="M7 4.6v14.8a.9.9 0 0 0 1.4.8l11.4-7.4a.9.9 0 0 0 0-1.6L8.4 3.8A.9.9 0 0 0 7 4.6z"/>',
    "pause": f'<g {_FILLED}><rect x="6" y="4" width="4" height="16" rx="1.2"/>'
    '<rect x="14" y="4" width="4" height="16" rx="1.2"/></g>',
    "restart": f'<path {_LINED} d="M5 12a7 7 0 1 0 2.2-5.1M5 4.5V8h3.8"/>',
    "step_forward": f'<path {_FILLED} d="M6 6v12l8.5-6z"/>'
    f'<rect {_FILLED} x="15.5" y="6" width="2.6" height="12" rx="1"/>',
    "step_back": f'<path {_FILLED} d="M18 6v12l-8.5-6z"/>'
    f'<rect {_FILLED} x="5.9" y="6" width="2.6" height="12" rx="1"/>',
    "loop": f'<path {_LINED} d="M4.5 11V9.5a3 3 0 0 1 3-3H19M16.2 3.6 19 6.5l-2.8 2.9M19.5 13v1.5a3 3 0 0 1-3 3H5'
    'M7.8 20.4 5 17.5l2.8-2.9"/>',
    "grid": f'<path {_LINED} d="M4.5 4.5h15v15h-15zM4.5 12h15M12 4.5v15"/>',
    "record": f'<circle {_FILLED} cx="12" cy="12" r="6.5"/>',
    "stop": f'<rect {_FILLED} x="6" y="6" width="12" height="12" rx="2"/>',
    "screenshot": f'<g {_LINED}><path d="M4.5 8.5h3.2l1.5-2.5h5.6l1.5 2.5h3.2v10.5h-15z"/>'
    '<circle cx="12" cy="13.2" r="3.1"/></g>',
    "panel": f'<path {_LINED} d="M4 5.5h16v13H4zM14.5 5.5v13"/>',
    "fullscreen": f'<path {_LINED} d="M4.5 9V4.5H9M15 4.5h4.5V9M19.5 15v4.5H15M9 19.5H4.5V15"/>',
    "menu": f'<path {_LINED} d="M4.5 7h15M4.5 12h15M4.5 17h15"/>',
    "open": f'<path {_LINED} d="M3.8 18.5v-13h5.4l2 2.5h8.9v10.5z"/>',
    "camera": f'<g {_LINED}><rect x="3.5" y="7" width="11.5" height="10" rx="2"/><path d="m15 11 5.5-3v8L15 13"/></g>',
    "demo": f'<g {_LINED}><path d="M9 4 4 20M15 4l5 16M12 5v2.5M12 11v2.5M12 17v2.5"/></g>',
    "address": f'<g {_LINED}><circle cx="12" cy="12" r="8"/><path d="M4 12h16M12 4c4.5 4.5 4.5 11.5 0 16'
    'M12 4c-4.5 4.5-4.5 11.5 0 16"/></g>',
    "help": f'<g {_LINED}><circle cx="12" cy="12" r="8"/><path d="M9.7 9.6a2.4 2.4 0 1 1 3.4 2.3c-.8.4-1.1.8-1.1 1.7'
    'M12 16.6v.1"/></g>',
    "close": f'<path {_LINED} d="m6 6 12 12M18 6 6 18"/>',
    "down": f'<path {_LINED} d="m5 9 7 7 7-7"/>',
}
_LOGO = (
    '<rect x="2" y="2" width="20" height="20" rx="5" fill="#14243a"/>'
    '<path d="M2 15h20v2a5 5 0 0 1-5 5H7a5 5 0 0 1-5-5z" fill="#8a5bb0"/>'
    '<path d="M12 5h7v10h-7z" fill="#3fa96b"/><path d="M5 9h7v6H5z" fill="#d9843b"/>'
    '<path d="M12 5h7v5h-7zM12 10h3.5v5H12zM15.5 10H19v5h-3.5z" fill="none" stroke="#fff" stroke-width=".9"/>'
)


def names() -> tuple[str, ...]:
    """All icons there are."""
    return tuple(_SHAPES)


def pixmap(name: str, colour: str, size: int = 24, ratio: float = 2.0) -> QPixmap:
    """Draw an icon ("logo" has colours of its own) of `size` logical pixels."""
    shape = _LOGO if name == "logo" else _SHAPES[name].replace("{c}", colour)
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">{shape}</svg>'
    image = QPixmap(round(size * ratio), round(size * ratio))
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    QSvgRenderer(QByteArray(svg.encode())).render(painter, QRectF(image.rect()))
    painter.end()
    image.setDevicePixelRatio(ratio)
    return image


def icon(name: str, colour: str, faded: str = "") -> QIcon:
    """An icon in the theme's colour, and in `faded` while its button is disabled."""
    result = QIcon(pixmap(name, colour))
    if faded:
        result.addPixmap(pixmap(name, faded), QIcon.Mode.Disabled)
    return result
