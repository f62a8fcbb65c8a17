"""What the network is told to do: policy, threshold, budget, speed, colours, model, device."""

from __future__ import annotations

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QSpinBox, QToolButton, QWidget

from segstream.ui.state import POLICIES, Playback, Settings
from segstream.ui.widgets import Combo, Slider, label

_POLICY_TEXTS = {
    "learned": "Learned",
    "heuristic": "Heuristic (detail)",
    "random": "Random",
    "high": "All high (dense)",
    "low": "All low",
}
_HINTS = {
    "policy": "How blocks are chosen for high resolution",
    "threshold": "Blocks that the policy scores above this run at high resolution",
    "budget": "At most this share of blocks runs at high resolution",
    "target": "The budget adapts until this many frames per second are reached",
    "palette": "Colours of the classes",
    "model": "The network and its weights",
    "device": "Where the network runs",
}
OPEN_MODEL = "\0open"  # the item of the model list that opens a file dialog


class Controls(QWidget):
    """One row a setting. `changed` carries the name and value of a setting, `model_wanted` asks for a file dialog."""

    changed = pyqtSignal(str, object)
    model_wanted = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(1, 1)
        self.policy = self._combo("policy", [(_POLICY_TEXTS[name], name) for name in POLICIES])
        self.policy.chosen.connect(self._choose_policy)
        self.threshold, self.threshold_text = Slider(0.0, 1.0), self._number()
        self.threshold.moved.connect(lambda value: self.changed.emit("threshold", value))
        self.own = QToolButton()
        self.own.setText("Auto")
        self.own.setToolTip("Back to the model's own threshold for this policy")
        self.own.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.own.clicked.connect(lambda: self.changed.emit("threshold", None))
        room = QWidget()  # as wide as the button above, so that the sliders are equally long
        room.setFixedWidth(self.own.sizeHint().width())
        self.own.setFixedWidth(room.width())
        self.budget, self.budget_text = Slider(0.0, 1.0), self._number()
        self.budget.moved.connect(lambda value: self.changed.emit("budget", value))
        self.target = QSpinBox()
        self.target.setRange(0, 240)
        self.target.setSpecialValueText("Off")
        self.target.setSuffix(" FPS")
        self.target.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.target.setKeyboardTracking(False)
        self.target.valueChanged.connect(lambda value: self.changed.emit("target_fps", float(value)))
        self.target_text = label("", "dim")
        self.palette_choice = self._combo("palette", [])
        self.palette_choice.chosen.connect(lambda value: self.changed.emit("palette", value))
        self.model = self._combo("model", [])
        self.model.chosen.connect(self._choose_model)
        self.device = self._combo("device", [("Automatic", "auto"), ("CPU", "cpu"), ("CUDA GPU", "cuda")])
        self.device.chosen.connect(lambda value: self.changed.emit("device", value))
        self.engine = label("", "small")  # the side panel puts it beside the heading
        self._row("Policy", "policy", self.policy)
        self._row("Threshold", "threshold", self.threshold, self.threshold_text, self.own)
        self._row("Budget", "budget", self.budget, self.budget_text, room)
        self._row("Target", "target", self.target, self.target_text)
        self._row("Palette", "palette", self.palette_choice)
        self._row("Model", "model", self.model)
        self._row("Device", "device", self.device)
        self._engine_model = ""

    def _combo(self, name: str, items: list[tuple[str, str]]) -> Combo:
        combo = Combo()
        combo.set_items(items)
        combo.setAccessibleName(name.capitalize())
        combo.setMinimumContentsLength(8)
        combo.setPlaceholderText("…")
        return combo

    def _number(self) -> QLabel:
        text = QLabel("")
        text.setFixedWidth(42)
        text.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return text

    def _row(self, text: str, name: str, *widgets: QWidget) -> None:
        row = self._grid.rowCount()
        title = label(text, "dim")
        title.setToolTip(_HINTS[name])
        title.setBuddy(widgets[0])
        self._grid.addWidget(title, row, 0)
        holder = QHBoxLayout()
        holder.setSpacing(6)
        for widget in widgets:
            if not widget.toolTip():
                widget.setToolTip(_HINTS[name])
            if not widget.accessibleName():
                widget.setAccessibleName(text)
            holder.addWidget(widget, 1 if widget is widgets[0] else 0)
        self._grid.addLayout(holder, row, 1)

    def _choose_policy(self, value: str) -> None:
        self.changed.emit("policy", value)
        self.changed.emit("threshold", None)  # a threshold means something else for every policy

    def _choose_model(self, value: str) -> None:
        if value == OPEN_MODEL:
            self.model.set_value(self._engine_model)
            self.model_wanted.emit()
        else:
            self.changed.emit("model", value)

    def set_models(self, names: list[str]) -> None:
        """Offer models by name, and a file."""
        self.model.set_items([*((name, name) for name in names), ("Open a file…", OPEN_MODEL)])

    def set_palettes(self, names: list[str]) -> None:
        """Offer palettes by name, after the model's own."""
        self.palette_choice.set_items(
            [("The model's own", ""), *((n.replace("-", " ").capitalize(), n) for n in names)]
        )

    def show_settings(self, settings: Settings, playback: Playback) -> None:
        """Show what is set and what runs."""
        thresholds = playback.network.thresholds
        policy = playback.network.policy_for(settings.policy) if thresholds else settings.policy
        self.policy.set_value(policy)
        for i in range(self.policy.count()):
            missing = bool(thresholds) and self.policy.itemData(i) not in thresholds
            self.policy.setItemData(i, 0 if missing else None, Qt.ItemDataRole.UserRole - 1)
        own = settings.threshold is None
        threshold = thresholds.get(policy, 0.5) if settings.threshold is None else settings.threshold
        self.threshold.set_number(threshold)
        self.threshold_text.setText(f"{threshold:.2f}")
        self.own.setEnabled(not own)
        chosen = policy not in ("high", "low")
        for widget in (self.threshold, self.threshold_text):
            widget.setEnabled(chosen)
        self.budget.set_number(settings.budget)
        self.budget_text.setText(f"{100 * settings.budget:.0f} %")
        self.target.blockSignals(True)
        self.target.setValue(round(settings.target_fps))
        self.target.blockSignals(False)
        self.target_text.setVisible(settings.target_fps > 0)
        self.target_text.setText(f"budget now {100 * playback.allowed:.0f} %" if settings.target_fps else "")
        self.palette_choice.set_value(settings.palette)
        self._engine_model = settings.model or playback.network.model
        self.model.set_value(self._engine_model)
        self.device.set_value(settings.device)
        running = f"runs on {playback.network.engine}" if playback.network.engine else ""
        self.engine.setText(f"{playback.busy}…" if playback.busy else running)
