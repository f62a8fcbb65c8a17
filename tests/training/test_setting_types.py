"""Values of YAML against what a setting takes."""

from __future__ import annotations

from typing import Any

import pytest

from segstream.training.setting_types import as_setting, describe


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        ("a", str, "a"),
        (None, str | None, None),
        ([1, 2], tuple[int, int], (1, 2)),
        ([1, 0.5], tuple[float, ...], (1.0, 0.5)),
        ([], tuple[str, ...], ()),
        (None, tuple[int, int] | None, None),
    ],
)
def test_takes_what_yaml_gives(value: Any, hint: Any, expected: Any) -> None:
    found = as_setting(value, hint)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int),
        (False, float),
        (2.5, int),
        ("3", int),
        (5, str),
        ([256], tuple[int, int]),
        (5, tuple[int, int] | None),
        ([None], tuple[str, ...]),
        ("a", tuple[str, ...]),
    ],
)
def test_refuses_the_rest(value: Any, hint: Any) -> None:
    with pytest.raises(TypeError):
        as_setting(value, hint)


def test_says_what_is_wanted() -> None:
    assert describe(tuple[int, int] | None) == "a list of a whole number and a whole number or null"
    assert describe(tuple[str, ...]) == "a list, each of it a text"
