"""Running a tool of the environment that this Python is of, or one on the PATH."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120


def found(name: str) -> str | None:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def run(name: str, *arguments: str, text: str | None = None) -> tuple[int, str]:
    """The status and all output of a tool, in the project's root. Raises: RuntimeError for one that
    is not there: a check that cannot be made has not been passed."""
    tool = found(name)
    if tool is None:
        raise RuntimeError(f"{name} is not installed: run `make check-infra`, which brings it")
    done = subprocess.run(
        [tool, *arguments],
        cwd=ROOT,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout


def complaints(name: str, *arguments: str) -> list[str]:
    """What a linter says, where its status is not 0."""
    status, output = run(name, *arguments)
    return [line for line in output.splitlines() if line.strip()] if status else []
