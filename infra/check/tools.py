"""Run a tool of this Python's environment, or one on the PATH."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 900
"""Limit of a tool. A busy machine takes minutes for one that looks for secrets."""


class ToolError(RuntimeError):
    """A tool is missing, failed, or gave no answer: a skipped check is no pass."""


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

    Raises: `ToolError` for a missing tool, or one without an answer in time.
    """
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = _run(name, arguments, ROOT, input=text, **streams)
    return done.returncode, done.stdout


def read_output(name: str, *arguments: str, folder: Path = ROOT) -> str:
    """Run a tool in `folder` and return its standard output, with any exit status.

    Raises: `ToolError` for a missing tool, or one without output or an answer in time.
    """
    done = _run(name, arguments, folder, capture_output=True)
    if not done.stdout.strip():
        raise ToolError(f"{name}: {done.stderr.strip()[-500:]}")
    return done.stdout


def lint(name: str, *arguments: str) -> list[str]:
    """Run a linter and return its lines of output, or none for the exit status 0."""
    status, output = run(name, *arguments)
    return [line for line in output.splitlines() if line.strip()] if status else []


def _run(
    name: str, arguments: Sequence[str], folder: Path, **streams: Any
) -> subprocess.CompletedProcess[str]:
    command = [_require(name), *arguments]
    try:
        return subprocess.run(command, cwd=folder, text=True, timeout=SECONDS, **streams)
    except subprocess.TimeoutExpired:
        # Its own text has the whole command: every file of the project.
        raise ToolError(f"{name}: no answer for {SECONDS} s") from None


def _require(name: str) -> str:
    tool = find_tool(name)
    if tool is None:
        raise ToolError(f"{name} is not installed. `make check-infra` installs it.")
    return tool
