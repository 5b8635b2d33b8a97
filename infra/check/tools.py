"""Running a tool of the environment that this Python is of, or one on the PATH."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120


def found(name: str) -> str | None:
    """Beside this Python, in an environment of its own within this one's, or on the PATH."""
    bin_folder = Path(sys.executable).parent
    for path in (bin_folder / name, bin_folder.parent / name / "bin" / name):
        if path.exists():
            return str(path)
    return shutil.which(name)


def run(name: str, *arguments: str, text: str | None = None) -> tuple[int, str]:
    """The status and all output of a tool, in the project's root. Raises: RuntimeError for one that
    is not there: a check that cannot be made has not been passed."""
    done = subprocess.run(
        [_there(name), *arguments],
        cwd=ROOT,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout


def output(name: str, *arguments: str, folder: Path = ROOT) -> str:
    """What a tool that runs in `folder` writes to its standard output, whatever its status is."""
    done = subprocess.run(
        [_there(name), *arguments], cwd=folder, capture_output=True, text=True, timeout=SECONDS
    )
    if not done.stdout.strip():
        raise RuntimeError(f"{name}: {done.stderr.strip()[-500:]}")
    return done.stdout


def complaints(name: str, *arguments: str) -> list[str]:
    """What a linter says, where its status is not 0."""
    status, output = run(name, *arguments)
    return [line for line in output.splitlines() if line.strip()] if status else []


def _there(name: str) -> str:
    tool = found(name)
    if tool is None:
        raise RuntimeError(f"{name} is not installed: run `make check-infra`, which brings it")
    return tool
