"""The Qt-free model: what is allowed, who is told, in which order."""

from __future__ import annotations

import pytest

from segstream.errors import UsageError
from segstream.ui.state import RECENT_LIMIT, Settings, Source, ViewerState


def test_subscribers_hear_only_real_changes_of_their_names() -> None:
    state = ViewerState()
    heard: list[frozenset[str]] = []
    leave = state.subscribe(heard.append, "threshold", "position")
    state.set(threshold=0.25, view="mask")
    state.set(threshold=0.25)
    state.set(view="split")
    state.play(position=3.0)
    leave()
    state.set(threshold=0.75)
    assert heard == [frozenset({"threshold", "view"}), frozenset({"position"})]


def test_a_change_made_by_a_subscriber_is_told_after_the_present_one() -> None:
    state = ViewerState()
    order: list[tuple[str, str]] = []

    def reacts(names: frozenset[str]) -> None:
        order.append(("first", ",".join(sorted(names))))
        if "view" in names:
            state.set(grid=False)

    state.subscribe(reacts)
    state.subscribe(lambda names: order.append(("second", ",".join(sorted(names)))))
    state.set(view="mask")
    assert order == [("first", "view"), ("second", "view"), ("first", "grid"), ("second", "grid")]


def test_a_failing_subscriber_does_not_leave_the_model_mute() -> None:
    state = ViewerState()
    leave = state.subscribe(lambda names: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(ZeroDivisionError):
        state.set(view="mask")
    leave()
    heard: list[frozenset[str]] = []
    state.subscribe(heard.append)
    state.set(view="split")
    assert heard == [frozenset({"view"})]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"view": "sideways"}, "overlay, mask, split, source"),
        ({"policy": "magic"}, "learned, heuristic, random, high, low"),
        ({"threshold": 1.5}, "from 0 to 1"),
        ({"threshold": float("nan")}, "from 0 to 1"),
        ({"budget": True}, "from 0 to 1"),
        ({"grid": "yes"}, "true or false"),
        ({"hidden": "road"}, "list of names"),
        ({"colour": 1}, "the settings are"),
    ],
)
def test_a_bad_setting_is_refused_with_what_is_allowed(changes: dict[str, object], words: str) -> None:
    state = ViewerState()
    with pytest.raises(UsageError, match=words):
        state.set(**changes)
    assert state.settings == Settings()


def test_recent_sources_are_newest_first_unique_and_bounded() -> None:
    state = ViewerState()
    for i in range(RECENT_LIMIT + 3):
        state.remember(f"{i}.mp4")
    state.remember("5.mp4")
    assert state.settings.recent[0] == "5.mp4"
    assert len(state.settings.recent) == len(set(state.settings.recent)) == RECENT_LIMIT


def test_speed_goes_up_and_down_a_ladder_with_ends() -> None:
    state = ViewerState()
    state.step_speed(1)
    assert state.settings.speed == 1.25
    for _ in range(20):
        state.step_speed(1)
    assert state.settings.speed == 4.0
    for _ in range(20):
        state.step_speed(-1)
    assert state.settings.speed == 0.25


def test_classes_are_hidden_and_shown_again() -> None:
    state = ViewerState()
    state.toggle_class("road")
    assert state.settings.hidden == {"road"}
    state.toggle_class("road")
    assert not state.settings.hidden


def test_only_an_open_seekable_source_can_be_sought() -> None:
    state = ViewerState()
    assert not state.playback.can_seek and not state.playback.can_pause
    state.play(status="playing", source=Source(name="a.mp4", seekable=True))
    assert state.playback.can_seek and state.playback.can_pause
    state.play(source=Source(name="camera", live=True))
    assert not state.playback.can_seek
