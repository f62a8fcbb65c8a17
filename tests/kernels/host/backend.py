"""Compiles the kernels as C++ and runs them on the CPU, thread by thread, to check their index arithmetic anywhere."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

from segstream.kernels.signatures import SOURCES, signatures

HERE = Path(__file__).resolve().parent
C_TYPES = {"P": ("const void*", ctypes.c_void_p), "i": ("int", ctypes.c_int), "q": ("long long", ctypes.c_longlong)}
C_TYPES["f"] = ("float", ctypes.c_float)


class HostBackend:
    """A backend of `segstream.kernels.launcher.set_host_backend`; libraries are built into `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.libraries: dict[str, ctypes.CDLL] = {}

    def __call__(
        self,
        file: str,
        name: str,
        defines: dict[str, str],
        grid: tuple[int, int],
        threads: int,
        shared: int,
        codes: str,
        values: list[int | float],
    ) -> None:
        function = getattr(self.library(file, defines), f"host_{name}")
        arguments = [C_TYPES[code][1](value) for code, value in zip(codes, values, strict=True)]
        function(*(ctypes.c_uint(n) for n in (*grid, threads)), *arguments)

    def library(self, file: str, defines: dict[str, str]) -> ctypes.CDLL:
        # Variants with fixed sides compute the same; compiling each of them as C++ would take minutes.
        defines = {macro: value for macro, value in defines.items() if not macro.startswith("FIXED_")}
        key = "-".join([file, *defines.values()]).replace(".", "_")
        if key not in self.libraries:
            source = self.folder / f"{key}.cpp"
            source.write_text(wrapper(file))
            out = self.folder / f"{key}.so"
            flags = [
                "-std=c++20",
                "-O1",
                "-w",
                "-fPIC",
                "-shared",
                f"-I{HERE / 'include'}",
                f"-I{HERE}",
                f"-I{SOURCES}",
            ]
            flags += [f"-D{macro}={value}" for macro, value in defines.items()]
            subprocess.run(["g++", *flags, str(source), "-o", str(out)], check=True)
            self.libraries[key] = ctypes.CDLL(str(out))
        return self.libraries[key]


def wrapper(file: str) -> str:
    """C++ that includes a .cu file and has a function to run each of its kernels."""
    lines = ['#include "run.hpp"', f'#include "{file}"']
    lines += [
        "struct Pointer {",
        "  const void* p;",
        "  template <typename T> operator T*() const { return (T*)const_cast<void*>(p); }",
        "};",
    ]
    for name, codes in signatures(file).items():
        arguments = ", ".join(f"{C_TYPES[code][0]} a{i}" for i, code in enumerate(codes))
        passed = ", ".join(f"Pointer{{a{i}}}" if code == "P" else f"a{i}" for i, code in enumerate(codes))
        lines.append(
            f'extern "C" void host_{name}(unsigned gx, unsigned gy, unsigned threads, {arguments}) {{ '
            f"host_launch(gx, gy, threads, [&] {{ {name}({passed}); }}); }}"
        )
    return "\n".join(lines) + "\n"
