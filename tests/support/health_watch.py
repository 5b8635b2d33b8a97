"""How long /healthz takes while something else happens, and how much memory the process has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ASK = """
import json, sys, threading, time
import httpx

url, pause = sys.argv[1], float(sys.argv[2])
worst, answers, over = 0.0, 0, threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
with httpx.Client(base_url=url, timeout=60) as http:
    print("ready", flush=True)
    while not over.is_set():
        began = time.monotonic()
        try:
            answered = http.get("/healthz").status_code == 200
        except httpx.TransportError:
            answered = False
        worst = max(worst, time.monotonic() - began if answered else 1e9)
        answers += 1
        time.sleep(pause)
print(json.dumps([worst, answers]))
"""


class HealthWatch:
    """Asks /healthz again and again in a process of its own, whatever this one does meanwhile.

    `worst` is the longest answer in seconds.
    """

    def __init__(self, url: str, pause: float = 0.02) -> None:
        self.worst, self.answers = 0.0, 0
        self._command = [sys.executable, "-c", ASK, url, str(pause)]

    @contextmanager
    def run(self) -> Iterator[HealthWatch]:
        pipe = subprocess.PIPE
        with subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield self
            told, _ = process.communicate()
            self.worst, self.answers = json.loads(told)


def longest_answer() -> float:
    """Bound of an answer in seconds: other programs on this machine delay every answer."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
