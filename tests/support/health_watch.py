"""How long /healthz takes while something else happens, and how much memory the process has."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx


class HealthWatch:
    """Asks /healthz again and again in a thread; `worst` is the longest answer in seconds."""

    def __init__(self, url: str, pause: float = 0.02) -> None:
        self.worst, self.answers = 0.0, 0
        self._url, self._pause = url, pause
        self._over = threading.Event()

    @contextmanager
    def run(self) -> Iterator[HealthWatch]:
        thread = threading.Thread(target=self._ask)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while not self._over.is_set():
                began = time.monotonic()
                try:
                    answered = http.get("/healthz").status_code == 200
                except httpx.TransportError:
                    answered = False
                self.worst = max(self.worst, time.monotonic() - began if answered else 1e9)
                self.answers += 1
                time.sleep(self._pause)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
