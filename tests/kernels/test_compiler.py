"""Kernels build for every architecture we name, the cache repairs itself, and failures are told once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from segstream.errors import EngineError
from segstream.kernels import compiler
from segstream.kernels.signatures import SOURCES, signatures

ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
FILES = sorted(path.name for path in SOURCES.glob("*.cu"))


def test_signatures_are_read_from_the_source() -> None:
    assert signatures("blocks.cu")["block_pad"] == "PPPPiiiiiii"
    assert signatures("blocks.cu")["block_sample"].endswith("qqqq")
    assert all(signatures(file) for file in FILES)


def test_every_file_builds_for_every_architecture(tmp_path: Path) -> None:
    nvcc = compiler.find_nvcc()
    if nvcc is None:
        pytest.skip("nvcc is not here")
    # All files as one, each in a namespace, because most of the time goes into reading the headers.
    lines = ["#include <mma.h>", *(f'#include "{path.name}"' for path in sorted(SOURCES.glob("*.cuh")))]
    lines += [f'namespace in_{Path(file).stem} {{\n#include "{file}"\n}}' for file in FILES]
    unit = tmp_path / "all.cu"
    unit.write_text("\n".join(lines) + "\n")
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in ARCHITECTURES]
    command = [
        str(nvcc),
        "-fatbin",
        "--threads=2",
        "-std=c++17",
        *targets,
        f"-I{SOURCES}",
        "-o",
        str(tmp_path / "all.fatbin"),
        str(unit),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr


@pytest.mark.parametrize("scalar", ["float", "__nv_bfloat16"])
def test_block_operations_build_for_every_type(scalar: str) -> None:
    if compiler.find_nvcc() is None:
        pytest.skip("nvcc is not here")
    assert compiler.build_with_nvcc("blocks.cu", "sm_80", {"SCALAR": scalar, "VEC": "4"})


@pytest.mark.parametrize("file", ["blocks.cu", "glue.cu", "spp.cu", "labels.cu"])
def test_variants_of_a_level_build(file: str) -> None:
    if compiler.find_nvcc() is None:
        pytest.skip("nvcc is not here")
    assert compiler.build_with_nvcc(
        file, "sm_90", {f"FIXED_{name}": "8" for name in ("QH", "QW", "C", "GH", "GW", "P")}
    )


def test_the_cache_is_used_and_repairs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def build(file: str, arch: str, defines: dict[str, str]) -> bytes:
        built.append(file)
        return b"code of " + file.encode()

    monkeypatch.setenv("SEGSTREAM_CACHE", str(tmp_path))
    monkeypatch.setattr(compiler, "build_with_nvrtc", build)
    macros = {"SCALAR": "float", "VEC": "4"}
    for _ in range(2):
        assert compiler.machine_code("blocks.cu", "sm_90", macros) == b"code of blocks.cu"
    assert len(built) == 1
    compiler.machine_code("blocks.cu", "sm_80", macros)
    assert len(built) == 2
    for damage in (b"", b"short", b"x" * 100):
        for path in tmp_path.glob("*-sm_90-*"):
            path.write_bytes(damage)
        assert compiler.machine_code("blocks.cu", "sm_90", macros) == b"code of blocks.cu"
    assert len(built) == 5


def test_a_failure_names_every_attempt_and_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail(file: str, arch: str, defines: dict[str, str]) -> bytes:
        calls.append(file)
        raise RuntimeError(f"broken {len(calls)}")

    fail.__name__ = "build_with_nothing"
    monkeypatch.setenv("SEGSTREAM_CACHE", str(tmp_path))
    monkeypatch.setattr(compiler, "read_cached", lambda path: None)
    monkeypatch.setattr(compiler, "build_with_nvrtc", fail)
    monkeypatch.setattr(compiler, "build_with_nvcc", fail)
    messages = []
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            compiler.machine_code("blocks.cu", "sm_90", {})
        messages.append(str(caught.value))
    compiler._failures.clear()
    assert len(calls) == 2
    assert messages[0] == messages[1]
    assert "broken 1" in messages[0] and "broken 2" in messages[0] and "--device cpu" in messages[0]
