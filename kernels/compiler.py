"""Turns a .cu file into machine code for one architecture, with NVRTC or nvcc, and keeps it in the user's cache."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from segstream.errors import EngineError
from segstream.kernels.signatures import SOURCES

_failures: dict[str, str] = {}  # by cache key: a build that failed is reported again, not tried again


def cache_folder() -> Path:
    """Where compiled kernels are kept: $SEGSTREAM_CACHE, or segstream/kernels in the user's cache directory."""
    chosen = os.environ.get("SEGSTREAM_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segstream" / "kernels"


def machine_code(file: str, arch: str, defines: dict[str, str]) -> bytes:
    """The cubin of a .cu file.

    Args:
        file: name of a file beside this one.
        arch: architecture, as in "sm_90".
        defines: macros, as in {"SCALAR": "__half", "VEC": "8"}.

    Raises:
        EngineError: if no compiler is there or none of them can build it; the same error again on the next call.
    """
    key = cache_key(file, arch, defines)
    path = cache_folder() / f"{Path(file).stem}-{arch}-{key[:24]}.cubin"
    stored = read_cached(path)
    if stored is not None:
        return stored
    if key in _failures:
        raise EngineError(_failures[key])
    attempts: list[str] = []
    for build in (build_with_nvrtc, build_with_nvcc):
        try:
            code = build(file, arch, defines)
        except Exception as error:  # whatever a compiler does, the other one is tried and the message names both
            attempts.append(f"{build.__name__.removeprefix('build_with_')}: {error}")
            continue
        write_cached(path, code)
        return code
    _failures[key] = (
        f"The CUDA kernel {file} could not be built for {arch} ({'; '.join(attempts)}); install the CUDA toolkit, or "
        f"the pip packages cuda-bindings and nvidia-cuda-nvrtc of your CUDA version, or use --device cpu."
    )
    raise EngineError(_failures[key])


def forget(file: str, arch: str, defines: dict[str, str]) -> None:
    """Drop a cached build, for one that the driver refuses to load."""
    path = cache_folder() / f"{Path(file).stem}-{arch}-{cache_key(file, arch, defines)[:24]}.cubin"
    path.unlink(missing_ok=True)


def cache_key(file: str, arch: str, defines: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for name in [file, *sorted(path.name for path in SOURCES.glob("*.cuh"))]:
        digest.update((SOURCES / name).read_bytes())
    digest.update(repr((file, arch, sorted(defines.items()))).encode())
    return digest.hexdigest()


def read_cached(path: Path) -> bytes | None:
    """A stored build, or None where there is none or its checksum is wrong (cut off, or damaged)."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    checksum, code = stored[:32], stored[32:]
    return code if code and hashlib.sha256(code).digest() == checksum else None


def write_cached(path: Path, code: bytes) -> None:
    """Store a build under its checksum; a cache that cannot be written costs a build per start, no more."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(file.name, path)
    except OSError:
        return


def compiler_problem() -> str | None:
    """What keeps kernels from being built, or None."""
    if importlib.util.find_spec("cuda") is not None and importlib.util.find_spec("cuda.bindings") is not None:
        return None if include_folder() or find_nvcc() else "the CUDA headers are not there: install the CUDA toolkit"
    if find_nvcc():
        return None
    return "no compiler for CUDA kernels: install the CUDA toolkit (nvcc) or the pip package cuda-bindings"


def nvrtc_version() -> str | None:
    """Version of the NVRTC that pip's cuda-bindings reaches, or None."""
    try:
        from cuda.bindings import nvrtc

        status, major, minor = nvrtc.nvrtcVersion()
    except Exception:  # not installed, or it does not find the library
        return None
    return f"{major}.{minor}" if int(status) == 0 else None


def toolkit_folders() -> list[Path]:
    """Places where a CUDA toolkit may be, pip's own packages included."""
    folders = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    nvcc = shutil.which("nvcc")
    if nvcc:
        folders.append(Path(nvcc).resolve().parent.parent)
    folders.append(Path("/usr/local/cuda"))
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or []) if spec else []:
        folders += sorted(Path(root).glob("cu[0-9]*"), reverse=True)
        folders.append(Path(root) / "cuda_runtime")
    return folders


def include_folder() -> Path | None:
    """The folder of the CUDA headers, which NVRTC does not bring along."""
    for folder in toolkit_folders():
        if (folder / "include" / "cuda_fp16.h").is_file():
            return folder / "include"
    return None


def find_nvcc() -> Path | None:
    for folder in toolkit_folders():
        if (folder / "bin" / "nvcc").is_file():
            return folder / "bin" / "nvcc"
    return None


def build_with_nvrtc(file: str, arch: str, defines: dict[str, str]) -> bytes:
    from cuda.bindings import nvrtc

    include = include_folder()
    if include is None:
        raise RuntimeError("the CUDA headers are not there")

    def call(name: str, *arguments: object) -> object:
        status, *values = getattr(nvrtc, name)(*arguments)
        if int(status) != 0:
            raise RuntimeError(f"{name} failed with {status.name}")
        return values[0] if values else None

    source = (SOURCES / file).read_bytes()
    program = call("nvrtcCreateProgram", source, file.encode(), 0, [], [])
    options = [f"-arch={arch}", "-std=c++17", f"-I{SOURCES}", f"-I{include}"]
    options += [f"-D{name}={value}" for name, value in defines.items()]
    encoded = [option.encode() for option in options]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)
    if int(status) != 0:
        log = b" " * int(str(call("nvrtcGetProgramLogSize", program)))
        call("nvrtcGetProgramLog", program, log)
        raise RuntimeError(first_error(log.decode(errors="replace")))
    code = b" " * int(str(call("nvrtcGetCUBINSize", program)))
    call("nvrtcGetCUBIN", program, code)
    call("nvrtcDestroyProgram", program)
    return code


def build_with_nvcc(file: str, arch: str, defines: dict[str, str]) -> bytes:
    nvcc = find_nvcc()
    if nvcc is None:
        raise RuntimeError("nvcc is not there")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "kernel.cubin"
        macros = [f"-D{name}={value}" for name, value in defines.items()]
        target = f"-gencode=arch=compute_{arch.removeprefix('sm_')},code={arch}"
        command = [str(nvcc), "-cubin", "-std=c++17", target, *macros, "-o", str(out), str(SOURCES / file)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(first_error(done.stderr))
        return out.read_bytes()


def first_error(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if "error" in line] or [log.strip()[:200] or "no message"]
    return lines[0].rstrip(".")
