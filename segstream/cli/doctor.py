"""`segstream doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.markup import escape
from rich.table import Table

import segstream
from segstream.cli import console
from segstream.cli.options import Command, common_options


class Finding(NamedTuple):
    """One line of the report. `state`: "ok", "missing" (something works less well) or "broken" (nothing works)."""

    name: str
    state: str
    what: str
    fix: str = ""


@click.command(cls=Command, name="doctor")
@common_options
def command(**values: Any) -> int:
    """Show what this machine has, what is missing, and the fix.

    Exit code 0 if everything needed for `segstream run -s demo` is there, else 1.
    """
    findings: list[Finding] = []
    for check in _CHECKS:
        try:
            findings.extend(check())
        except Exception as error:  # one broken part must not hide the others
            findings.append(Finding(check.__name__.strip("_"), "broken", f"{type(error).__name__}: {error}"))
    table = Table.grid(padding=(0, 2))
    signs = {"ok": "[green]ok[/]", "missing": "[yellow]missing[/]", "broken": "[red]broken[/]"}
    for finding in findings:
        table.add_row(signs[finding.state], finding.name, escape(finding.what))
        if finding.fix:
            table.add_row("", "", f"[cyan]fix:[/] {escape(finding.fix)}")
    console.out().print(table)
    return 1 if any(finding.state == "broken" for finding in findings) else 0


def _basics() -> list[Finding]:
    found = [
        Finding("segstream", "ok", segstream.__version__),
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
        Finding("processor", "ok", f"{_processor()}, {_cores()} cores"),
    ]
    for name, package in (
        ("opencv-python-headless", "cv2"),
        ("pillow", "PIL"),
        ("numpy", "numpy"),
        ("safetensors", "safetensors"),
    ):
        found.append(_package(name, package, fix=f"pip install {name}"))
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            match = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor() or platform.machine()


def _package(name: str, package: str, state: str = "broken", why: str = "", fix: str = "") -> Finding:
    """Whether a Python package is there."""
    try:
        module = importlib.import_module(package)
    except Exception as error:
        what = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
        return Finding(name, state, what + why, fix)
    return Finding(name, "ok", str(getattr(module, "__version__", "installed")))


def _torch() -> list[Finding]:
    import torch

    found = [Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")]
    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") is None:
            what, fix = "no NVIDIA driver here: the CPU engine runs the network", ""
        elif torch.version.cuda is None:
            what, fix = "this torch is built without CUDA", "install a CUDA build of torch, see pytorch.org"
        else:
            what, fix = f"torch {torch.version.cuda} sees no GPU", "check `nvidia-smi` and the driver's version"
        return [*found, Finding("CUDA", "missing", what, fix)]
    for k in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(k)
        what = f"{card.name}, {card.total_memory / 2**30:.0f} GiB, compute {card.major}.{card.minor}"
        found.append(Finding(f"CUDA device {k}", "ok", f"{what}, torch for CUDA {torch.version.cuda}"))
    return found


def _cuda_tools() -> list[Finding]:
    """What the CUDA engine needs beside a GPU; without one nothing has to be fixed."""
    import torch

    from segstream.kernels import compiler, launcher

    gpu = torch.cuda.is_available() or shutil.which("nvidia-smi") is not None
    needed = "" if gpu else " (only the CUDA engine needs it)"
    found = [_package("PyCUDA", "pycuda", "missing", needed, "pip install 'segstream[cuda]'" if gpu else "")]
    nvcc = compiler.find_nvcc()
    nvrtc = compiler.nvrtc_version()
    found.append(Finding("nvcc", "ok" if nvcc else "missing", _nvcc_version(nvcc) if nvcc else f"not found{needed}"))
    found.append(Finding("NVRTC", "ok" if nvrtc else "missing", nvrtc or f"cuda-bindings is not installed{needed}"))
    reason = compiler.compiler_problem()
    if reason and gpu:
        found[-1] = found[-1]._replace(fix=f"one of nvcc and NVRTC is needed: {reason.partition(': ')[2]}")
    if not gpu:
        return found
    reason = launcher.problem()
    if reason:
        what, _, fix = reason.partition(": ")
        return [*found, Finding("CUDA engine", "missing", f"cannot run, the CPU engine does: {what}", fix)]
    folder = compiler.cache_folder()
    kernels = len(list(folder.glob("*.cubin"))) if folder.is_dir() else 0
    return [*found, Finding("CUDA engine", "ok", f"can run; {kernels} compiled kernels in {folder}")]


def _nvcc_version(path: Path) -> str:
    text = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"release ([\d.]+)", text)
    return f"{match[1] if match else 'installed'}, {path}"


def _video() -> list[Finding]:
    package = _package("PyAV", "av", why=": no files, cameras or streams can be read or written", fix="pip install av")
    if package.state != "ok":
        return [package]
    import av

    found = [Finding("PyAV", "ok", f"{av.__version__}, FFmpeg {getattr(av, 'ffmpeg_version_info', '')}".rstrip(", "))]
    wanted = {
        "H.264": (("h264",), ("libx264", "h264_nvenc", "libopenh264")),
        "HEVC": (("hevc",), ("libx265", "hevc_nvenc")),
        "VP9": (("vp9",), ("libvpx-vp9",)),
        "AV1": (("libdav1d", "av1"), ("libsvtav1", "libaom-av1", "av1_nvenc")),
        "FFV1": (("ffv1",), ("ffv1",)),
        "AAC": (("aac",), ("aac",)),
        "Opus": (("opus", "libopus"), ("libopus", "opus")),
    }
    for name, (decoders, encoders) in wanted.items():
        reads = [codec for codec in decoders if _has_codec(codec, "r")]
        writes = [codec for codec in encoders if _has_codec(codec, "w")]
        what = f"reads with {', '.join(reads) or 'nothing'}; writes with {', '.join(writes) or 'nothing'}"
        state = "ok" if reads and writes else "missing"
        found.append(
            Finding(f"codec {name}", state, what, "" if state == "ok" else "use PyAV's own wheel: pip install av")
        )
    return found


def _has_codec(name: str, mode: str) -> bool:
    import av

    try:
        av.codec.Codec(name, mode)  # type: ignore[arg-type]
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _window() -> list[Finding]:
    """Try Qt in a process of its own, because a missing library or display ends the process."""
    if importlib.util.find_spec("PyQt6") is None:
        what = "PyQt6 is not installed: `segstream run` shows figures in the terminal"
        return [Finding("Qt window", "missing", what, "pip install pyqt6")]
    script = (
        "from PyQt6.QtWidgets import QApplication; a = QApplication([]); import PyQt6.QtCore as c; "
        "print(c.QT_VERSION_STR, a.platformName())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        return [Finding("Qt window", "ok", "Qt {}, platform {}".format(*done.stdout.split()[:2]))]
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        what = "no display (neither DISPLAY nor WAYLAND_DISPLAY is set): `segstream run` shows figures in the terminal"
        return [Finding("Qt window", "missing", what, "run it in a graphical session, or with `ssh -X`")]
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    fix = "apt install libegl1 libgl1 libxkbcommon0 libdbus-1-3 libxcb-cursor0"
    return [Finding("Qt window", "missing", lines[-1] if lines else f"Qt ended with code {done.returncode}", fix)]


def _models() -> list[Finding]:
    from segstream.models import DEFAULT_MODEL, load_model, model_names

    names = model_names()
    if DEFAULT_MODEL not in names:
        what = f"{DEFAULT_MODEL} is not installed" + (f"; there are {', '.join(names)}" if names else "")
        return [Finding("models", "broken", what, "reinstall segstream, or give a model file with -m")]
    found = []
    for name in names:
        spec = load_model(name).spec
        found.append(Finding("model", "ok", f"{name}: {len(spec.classes)} classes, {spec.encoder}"))
    return found


def _cameras() -> list[Finding]:
    if importlib.util.find_spec("av") is None:
        return []  # said above
    from segstream.sources import list_cameras

    cameras = list_cameras()
    if not cameras:
        return [Finding("cameras", "missing", "none found", "plug one in, or check that you may read /dev/video*")]
    return [Finding("camera", "ok", f"{camera.name}: {camera.description}") for camera in cameras]


_CHECKS: tuple[Callable[[], list[Finding]], ...] = (_basics, _torch, _cuda_tools, _video, _window, _models, _cameras)
