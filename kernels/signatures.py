"""Reads the argument types of kernels from their source, so that they are written down in one place only."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).resolve().parent

# struct codes of the argument types that the kernels use; every pointer is one machine word.
_CODES = {"int": "i", "long long": "q", "float": "f"}
_KERNEL = re.compile(r"^KERNEL\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)", re.MULTILINE)


@cache
def signatures(file: str) -> dict[str, str]:
    """Argument types of every kernel of a .cu file as struct codes: "P" pointer, "i" int, "q" long long, "f" float."""
    source = re.sub(r"//[^\n]*", "", (SOURCES / file).read_text(encoding="utf-8"))
    return {name: "".join(_code(argument) for argument in _split(body)) for name, body in _KERNEL.findall(source)}


def _split(body: str) -> list[str]:
    return [argument.strip() for argument in body.split(",") if argument.strip()]


def _code(argument: str) -> str:
    if "*" in argument:
        return "P"
    return _CODES[argument.rsplit(None, 1)[0].removeprefix("const ")]
