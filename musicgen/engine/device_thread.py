"""A single thread for the decode steps, and on a CPU for all work that occupies every core.

A decode step and a piece of codec decoding each use all cores, and their threads meet at barriers
many times per millisecond. Two of them in parallel would wait at each barrier until the scheduler
returns a core. OpenMP also gives every calling thread a team of its own, and idle teams spin for a
while on the cores the next team needs. A GPU orders its own work, so there a caller's thread runs
what is not a decode step.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from musicgen.model.forks import call_after_fork

P = ParamSpec("P")
R = TypeVar("R")


class DeviceThread:
    """Executor that runs functions in order in a thread of its own."""

    def __init__(self, device: str) -> None:
        self._runs_all = device == "cpu"
        self.renew()
        call_after_fork(self, DeviceThread.renew)

    def start(self, function: Callable[[], None]) -> None:
        """Let `function` run after what was started before.

        Raises: `RuntimeError` when closed, and while the process ends.
        """
        self._thread.submit(function)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` and return its result. Must not be called from within such a function.

        Raises: the function's error; on a CPU also those of `start`.
        """
        if not self._runs_all:
            return function(*args, **kwargs)
        return self._thread.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """Wait for the running function and for those already started."""
        self._thread.shutdown()

    def renew(self) -> None:
        """Start anew in a forked process, which has the queue of its parent without the thread."""
        self._thread = ThreadPoolExecutor(1, "device")
