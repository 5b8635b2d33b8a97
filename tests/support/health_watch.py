"""How long /healthz takes while something else happens, and how much memory the process has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from tests.support import ROOT

ANSWER_SECONDS = 1.0
"""Bound of `HealthWatch.worst`."""


class HealthWatch:
    """Asks /healthz of process `pid` again and again, in a process of its own.

    Other programs on this machine delay every answer. A fixed bound of the plain time would fail
    beside a compiler; a bound by the machine's load would hide a fault beside one. Linux counts the
    time in which a thread was ready and had no processor (schedstat). `worst` is the longest answer
    in seconds without this time of the event loop and of the asking thread. It keeps all that the
    server does to itself: work on the loop, a blocking call, a thread with the interpreter's lock.
    A server with too many threads or children waits for processors, too. Therefore the waits are
    left out only in the proportion of other programs in the processor time of the whole watch, not
    counting the loop: it does not wait for itself. Without these counts `worst` is the plain time.

    `longest` is the longest answer by the clock, `others` that proportion.
    """

    def __init__(self, url: str, pid: int, pause: float = 0.02) -> None:
        self.worst, self.longest, self.others, self.answers = 0.0, 0.0, 0.0, 0
        self._command = [sys.executable, "-m", __name__, url, str(pid), str(pause)]

    @contextmanager
    def run(self) -> Iterator[HealthWatch]:
        pipe = subprocess.PIPE
        with subprocess.Popen(
            self._command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield self
            told, _ = process.communicate()
            self.worst, self.longest, self.others, self.answers = json.loads(told)

    @property
    def figures(self) -> dict[str, float]:
        """All of them, rounded, for the message of a failure."""
        return {name: round(n, 2) for name, n in vars(self).items() if isinstance(n, int | float)}


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _read_schedule(pid: int, thread: int) -> tuple[float, float]:
    """Seconds in which a thread ran, and was ready and had no processor; 0 where they are unknown.

    Source: Documentation/scheduler/sched-stats of Linux.
    """
    try:
        ran, waited, _ = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()
    except OSError:
        return 0.0, 0.0
    return int(ran) / 1e9, int(waited) / 1e9


def _read_processor_seconds(pid: int) -> tuple[float, float]:
    """Processor seconds of a process with its children, and of all; without its first thread."""
    loop, process = _read_schedule(pid, pid)[0], psutil.Process(pid)
    own = -loop
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            own += sum(one.cpu_times()[:4])
    machine = psutil.cpu_times()
    idle = machine.idle + getattr(machine, "iowait", 0.0)
    # Without the guests' time, a part of the users' time.
    return own, sum(machine[:8]) - idle - loop


def _ask(http: httpx.Client) -> float:
    """Seconds of an answer; a billion without one."""
    began = time.monotonic()
    try:
        is_answered = http.get("/healthz").status_code == 200
    except httpx.TransportError:
        is_answered = False
    return time.monotonic() - began if is_answered else 1e9


def _watch(url: str, pid: int, pause: float) -> None:
    """Ask until the standard input ends, then print the figures."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    threads = (pid, pid), (os.getpid(), threading.get_native_id())
    answers = []
    with httpx.Client(base_url=url, timeout=60) as http:
        own, machine = _read_processor_seconds(pid)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not over.is_set():
            before = sum(_read_schedule(*thread)[1] for thread in threads)
            seconds = _ask(http)
            waited = sum(_read_schedule(*thread)[1] for thread in threads) - before
            answers.append((seconds, waited))
            time.sleep(pause)
        last_own, last_machine = _read_processor_seconds(pid)
    others = 1 - (last_own - own) / max(last_machine - machine, 1e-9)
    others = min(1.0, max(0.0, others))
    worst = max(seconds - others * wait for seconds, wait in answers)
    longest = max(seconds for seconds, _ in answers)
    sys.stdout.write(json.dumps([worst, longest, others, len(answers)]))


if __name__ == "__main__":
    _watch(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
