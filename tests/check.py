"""Every check of the project by one command: `python tests/check.py` (or a part: `lint`, `test`).

The type checker and the import rules look at the package as it is installed, with kernels/, training/ and ui/ inside
segstream/, so this links the folders into build/installed/ first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = ROOT / "build" / "installed"
# Tests that time nothing but their own deadlines run two at a time, each with one thread: a third less time on two
# cores.
SIDE_BY_SIDE = (
    "tests/kernels",
    "tests/segstream/blocks",
    "tests/segstream/engines",
    "tests/segstream/models",
    "tests/training",
)


def link_as_installed() -> None:
    """Lay the package out as pip would install it, by links."""
    shutil.rmtree(INSTALLED, ignore_errors=True)
    package = INSTALLED / "segstream"
    package.mkdir(parents=True)
    for entry in (ROOT / "segstream").iterdir():
        if entry.name != "__pycache__":
            (package / entry.name).symlink_to(entry)
    for name in ("kernels", "training", "ui"):
        (package / name).symlink_to(ROOT / name)


def run(title: str, *command: str, cwd: Path = ROOT, **variables: str) -> bool:
    """Run a tool of this interpreter's environment; the package of `cwd` comes before an installed one."""
    print(f"== {title}: {' '.join(command)}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(cwd), **variables}
    tool = Path(sys.executable).parent / command[0]
    return subprocess.run([str(tool), *command[1:]], cwd=cwd, env=environment).returncode == 0


def main(parts: list[str]) -> int:
    chosen = parts or ["lint", "test"]
    unknown = sorted(set(chosen) - {"lint", "test"})
    if unknown:
        print(f"check.py: unknown part {unknown[0]!r}; the parts are: lint, test")
        return 2
    good = True
    if "lint" in chosen:
        link_as_installed()
        configuration = str(ROOT / "pyproject.toml")
        good &= run("lint", "ruff", "check", ".")
        good &= run("format", "ruff", "format", "--check", ".")
        good &= run("types", "mypy", "--config-file", configuration, "segstream", cwd=INSTALLED)
        good &= run("imports", "lint-imports", "--config", configuration, cwd=INSTALLED)
    if "test" in chosen:
        good &= run("tests, two at a time", "pytest", "-n", "2", *SIDE_BY_SIDE, OMP_NUM_THREADS="1")
        good &= run("tests, one by one", "pytest", *(f"--ignore={folder}" for folder in SIDE_BY_SIDE))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
