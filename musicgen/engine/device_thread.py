"""A single thread for all work that occupies every CPU core.

A decode step and a piece of codec decoding each use all cores, and their threads meet at barriers
many times per millisecond. Two of them in parallel would wait at each barrier until the scheduler
returns a core. OpenMP also gives every calling thread a team of its own, and idle teams spin for a
while on the cores the next team needs. A GPU orders its own work, so there the caller's thread runs
it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from musicgen.model.forks import call_after_fork

P = ParamSpec("P")
R = TypeVar("R")


class DeviceThread:
    """Executor that runs functions in order on a CPU, and directly in the caller on a GPU."""

    def __init__(self, device: str) -> None:
        self._thread = ThreadPoolExecutor(1, "device") if device == "cpu" else None
        call_after_fork(self, DeviceThread.renew)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` and return its result. Must not be called from within such a function.

        Raises: the function's error; `RuntimeError` when closed.
        """
        if self._thread is None:
            return function(*args, **kwargs)
        return self._thread.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """Wait for the running function and for those already queued."""
        if self._thread is not None:
            self._thread.shutdown()

    def renew(self) -> None:
        """Start anew in a forked process, which has the queue of its parent without the thread."""
        if self._thread is not None:
            self._thread = ThreadPoolExecutor(1, "device")
