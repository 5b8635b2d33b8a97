"""Folders, names and commands of the tools for images."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "musicgen-images"
PROGRAMS = ("buildah", "runc", "debootstrap", "ip")
PYTHON_TAG = f"3.{sys.version_info.minor}-slim-bookworm"
BASE = f"docker.io/library/python:{PYTHON_TAG}"
"""Name of the base in the Dockerfiles; here it names the stand-in."""


class ImageError(Exception):
    """Obstacle to a build or a run of an image, with the end of the program's output."""


def find_missing() -> list[str]:
    """Return the needs of builds and containers missing on this machine."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return missing if os.geteuid() == 0 else [*missing, "root"]


def run(*command: str | Path, text: str | None = None, log: Path | None = None) -> str:
    """Run a command in the project's root and return its output, also appended to `log`.

    Raises: `ImageError` for another exit status than 0.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
    )
    if log is not None:
        with log.open("a") as file:
            file.write(done.stdout + done.stderr)
    if done.returncode:
        output = (done.stdout + done.stderr)[-3000:]
        raise ImageError(f"{command[0]} ended with status {done.returncode}:\n{output}")
    return done.stdout


@contextlib.contextmanager
def show_time(phase: str) -> Iterator[None]:
    """Write the seconds of a phase to standard error."""
    start = time.monotonic()
    yield
    sys.stderr.write(f"{phase}: {time.monotonic() - start:.1f} s\n")
    sys.stderr.flush()
