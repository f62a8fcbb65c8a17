"""Whether a value read from YAML is what a setting takes, by the setting's annotation."""

from __future__ import annotations

import math
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}


def as_setting(value: Any, hint: Any) -> Any:
    """The value as the setting holds it: lists as tuples, whole numbers as floats where a float is wanted.

    Raises:
        TypeError: if the value is none of what `hint` allows.
    """
    if isinstance(hint, UnionType):
        for one in get_args(hint):
            try:
                return as_setting(value, one)
            except TypeError:
                continue
    elif get_origin(hint) is tuple:
        kinds = get_args(hint)
        if isinstance(value, list | tuple):
            if kinds[-1] is Ellipsis:
                kinds = kinds[:1] * len(value)
            if len(kinds) == len(value):
                return tuple(as_setting(one, kind) for one, kind in zip(value, kinds, strict=True))
    elif hint is float and isinstance(value, str):
        try:
            value = float(value)  # YAML 1.1 reads 3e-4 as a text
        except ValueError:
            raise TypeError(describe(hint)) from None
        if math.isfinite(value):
            return value
    elif hint in (int, float):
        # Python counts True as an int.
        number = isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
        if number and math.isfinite(value):
            return hint(value)
    elif isinstance(value, hint):
        return value
    raise TypeError(describe(hint))


def describe(hint: Any) -> str:
    """What an annotation takes, in words."""
    if isinstance(hint, UnionType):
        return " or ".join(describe(one) for one in get_args(hint))
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if kinds[-1] is Ellipsis:
            return f"a list, each of it {describe(kinds[0])}"
        return "a list of " + " and ".join(describe(one) for one in kinds)
    return NAMES[hint]
