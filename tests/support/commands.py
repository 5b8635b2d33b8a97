"""The command line as a process that ends: its status, its lines, and its processor time."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT

PR_CAPBSET_DROP = 24
DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2
LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class Ended:
    """`seconds` of processor time, which other work on the machine does not change."""

    status: int
    lines: list[str]
    seconds: float

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def run_command(
    arguments: list[str], env: dict[str, str], *, bound: bool = False, root: Path = ROOT
) -> Ended:
    """Runs `musicgen` until it ends by itself. `bound`: permission bits bind it even as root.
    `root`: the folder of its code.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "handlers.cli", *arguments],
        cwd=root,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=drop_overrides if bound and os.geteuid() == 0 else None,
    )
    timer = threading.Timer(LIMIT_SECONDS, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        output = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = [line for line in output.splitlines() if line.strip()]
    return Ended(process.returncode, lines, usage.ru_utime + usage.ru_stime)


def drop_overrides() -> None:
    """Takes from root the right to pass over permission bits, for this process and its programs."""
    for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability)
