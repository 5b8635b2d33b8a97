"""Run a tool of this Python's environment, or one on the PATH."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120


def find_tool(name: str) -> str | None:
    """Return the path of a program, or None.

    Searched: this Python's folder, the program's own environment inside this one, the tools of
    Node.js there, the PATH.
    """
    bin_folder = Path(sys.executable).parent
    inside = bin_folder.parent
    for path in (
        bin_folder / name,
        inside / name / "bin" / name,
        inside / "node" / "node_modules" / ".bin" / name,
    ):
        if path.exists():
            return str(path)
    return shutil.which(name)


def run(name: str, *arguments: str, text: str | None = None) -> tuple[int, str]:
    """Run a tool in the project's root and return its exit status and all output.

    Raises: RuntimeError for a missing tool, because a skipped check is no pass.
    """
    done = subprocess.run(
        [_require(name), *arguments],
        cwd=ROOT,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout


def read_output(name: str, *arguments: str, folder: Path = ROOT) -> str:
    """Run a tool in `folder` and return its standard output, with any exit status.

    Raises: RuntimeError for a missing tool, or for one without output.
    """
    done = subprocess.run(
        [_require(name), *arguments], cwd=folder, capture_output=True, text=True, timeout=SECONDS
    )
    if not done.stdout.strip():
        raise RuntimeError(f"{name}: {done.stderr.strip()[-500:]}")
    return done.stdout


def lint(name: str, *arguments: str) -> list[str]:
    """Run a linter and return its lines of output, or none for the exit status 0."""
    status, output = run(name, *arguments)
    return [line for line in output.splitlines() if line.strip()] if status else []


def _require(name: str) -> str:
    tool = find_tool(name)
    if tool is None:
        raise RuntimeError(f"{name} is not installed. `make check-infra` installs it.")
    return tool
