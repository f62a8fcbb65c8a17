"""Small widgets that behave as a player's do: the mouse does not leave the keyboard stuck in a slider."""

from __future__ import annotations

from PyQt6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen, QWheelEvent
from PyQt6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QStyle,
    QStyleOptionSlider,
    QToolButton,
    QWidget,
)

from segstream.ui.theme import DARK, Theme

_MOVING = (
    Qt.Key.Key_Left,
    Qt.Key.Key_Right,
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
)
_PRESSING = (Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter)


def wants_key(widget: QWidget | None, event: QKeyEvent) -> bool:
    """Whether the focused widget needs a key that is also a shortcut of the window."""
    plain = event.modifiers() in (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)
    if isinstance(widget, QAbstractSpinBox):
        return plain and event.key() != Qt.Key.Key_Escape
    if isinstance(widget, QComboBox):
        return plain and (event.key() in _PRESSING or event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down))
    if isinstance(widget, QSlider):
        return plain and event.key() in _MOVING
    if isinstance(widget, QAbstractButton):
        return plain and event.key() in _PRESSING
    return False


class Slider(QSlider):
    """A slider of real numbers that jumps to where it is clicked. Signal `moved` carries what the user chose."""

    moved = pyqtSignal(float)

    def __init__(self, low: float, high: float, steps: int = 100, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self._low, self._high = low, high
        self.setRange(0, steps)
        self.setPageStep(max(1, steps // 10))
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.valueChanged.connect(self._tell)
        self._quiet = False

    def set_number(self, number: float) -> None:
        """Show a number without telling anybody; a slider that is held keeps its place."""
        if self.isSliderDown():
            return
        self._quiet = True
        self.setValue(round((number - self._low) / (self._high - self._low) * self.maximum()))
        self._quiet = False

    def number(self) -> float:
        """The number at the handle."""
        return self._low + (self._high - self._low) * self.value() / max(1, self.maximum())

    def _tell(self) -> None:
        if not self._quiet:
            self.moved.emit(self.number())

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            option = QStyleOptionSlider()
            self.initStyleOption(option)
            style = self.style()
            if style is not None:
                handle = style.subControlRect(
                    QStyle.ComplexControl.CC_Slider, option, QStyle.SubControl.SC_SliderHandle, self
                )
                if not handle.contains(event.position().toPoint()):
                    span = max(1, self.width() - handle.width())
                    offset = event.position().x() - handle.width() / 2
                    self.setValue(QStyle.sliderValueFromPosition(self.minimum(), self.maximum(), round(offset), span))
        super().mousePressEvent(event)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        if event is not None:
            event.ignore()  # the side panel scrolls; a value must not change on the way


class Combo(QComboBox):
    """A list to choose from. Signal `chosen` carries the item's value, for the user's choices only."""

    chosen = pyqtSignal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.activated.connect(lambda index: self.chosen.emit(str(self.itemData(index))))

    def set_items(self, items: list[tuple[str, str]]) -> None:
        """Offer (text, value) pairs, keeping the present choice if it is among them."""
        if [(self.itemText(i), self.itemData(i)) for i in range(self.count())] == items:
            return
        value = self.currentData()
        self.clear()
        for text, item in items:
            self.addItem(text, item)
        self.setCurrentIndex(self.findData(value or ""))

    def set_value(self, value: str) -> None:
        """Show a value; one that is not offered is added, so that the list never lies."""
        index = self.findData(value)
        if index < 0 and value:
            self.addItem(value, value)
            index = self.count() - 1
        self.setCurrentIndex(index)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        if event is not None:
            event.ignore()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        super().paintEvent(event)
        painter = QPainter(self)  # the arrow: style sheets would want a file for it
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.PlaceholderText), 1.6))
        x, y = self.width() - 14.0, self.height() / 2 - 1.5
        painter.drawPolyline(QPointF(x - 3.5, y), QPointF(x, y + 3.5), QPointF(x + 3.5, y))
        painter.end()


class Segments(QWidget):
    """Buttons of which one is down. Signal `chosen` carries its value."""

    chosen = pyqtSignal(str)

    def __init__(self, items: list[tuple[str, str]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        self.buttons: dict[str, QPushButton] = {}
        for i, (text, value) in enumerate(items):
            button = QPushButton(text)
            button.setObjectName("segment")
            button.setProperty("place", "first" if i == 0 else "last" if i == len(items) - 1 else "middle")
            button.setCheckable(True)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.setMinimumWidth(button.fontMetrics().horizontalAdvance(text) + 24)
            button.clicked.connect(lambda _, value=value: self._press(value))
            layout.addWidget(button)
            self.buttons[value] = button

    def set_value(self, value: str) -> None:
        for name, button in self.buttons.items():
            button.setChecked(name == value)

    def _press(self, value: str) -> None:
        self.set_value(value)
        self.chosen.emit(value)


class Swatch(QWidget):
    """A dot of a colour."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.colour: QColor | None = None
        self.setFixedSize(12, 12)

    def set_colour(self, colour: QColor | None) -> None:
        self.colour = colour
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        if self.colour is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.colour)
        painter.drawRoundedRect(QRectF(0.5, 0.5, 11, 11), 3, 3)
        painter.end()


class IconButton(QToolButton):
    """A button with one of our icons and a hint that names its key."""

    def __init__(self, icon: str, name: str, key: str = "", checkable: bool = False) -> None:
        super().__init__()
        self.icon_name, self.colour_role = icon, "text"
        self.setToolTip(f"{name} ({key})" if key else name)
        self.setAccessibleName(name)
        self.setCheckable(checkable)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setIconSize(QSize(20, 20))
        self._theme = DARK
        self.draw()

    def set_icon(self, icon: str, colour_role: str = "text") -> None:
        if (icon, colour_role) != (self.icon_name, self.colour_role):
            self.icon_name, self.colour_role = icon, colour_role
            self.draw()

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self.draw()

    def draw(self) -> None:
        from segstream.ui.icons import icon

        self.setIcon(icon(self.icon_name, getattr(self._theme, self.colour_role), self._theme.line))


def label(text: str, name: str = "", wrap: bool = False) -> QLabel:
    """A text, dressed by the style sheet's rule for `name`."""
    made = QLabel(text)
    if name:
        made.setObjectName(name)
    made.setWordWrap(wrap)
    return made


def is_override(event: QEvent | None) -> bool:
    """Whether Qt asks if the focused widget wants a key before a shortcut gets it."""
    return event is not None and event.type() == QEvent.Type.ShortcutOverride
