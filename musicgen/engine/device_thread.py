"""All that keeps a processor's cores busy, one piece after another, in one thread.

A step of the batch and a piece of the codec each run on all cores, with threads that wait for one
another many times within a millisecond. Side by side every such wait lasts until the system gives
the missing thread its core back. And OpenMP gives every thread that calls it threads of their own,
which spin for a while when they are done: in the way of the next caller's. A GPU orders its own
work, so that there the caller's thread does it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class DeviceThread:
    """Runs functions in the order in which they come, those of a GPU at once."""

    def __init__(self, device: str) -> None:
        self._thread = ThreadPoolExecutor(1, "device") if device == "cpu" else None

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function returns, or raises. Not to be called by such a function itself.

        Raises: RuntimeError when it is closed.
        """
        if self._thread is None:
            return function(*args, **kwargs)
        return self._thread.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """Waits for the function that runs; those behind it are still run."""
        if self._thread is not None:
            self._thread.shutdown()
