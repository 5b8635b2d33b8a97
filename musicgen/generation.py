"""One request under way: pull it for progress, cancel it from any thread, take its result."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

from musicgen.errors import GenerationCancelled
from musicgen.result import GenerationResult, Progress


class Generation(Iterator[Progress]):
    """Nothing runs until it is pulled, and no more than a little ahead of the pulls.

    Iterate it to follow the progress, then ask for `result()`; or ask at once.
    """

    def __init__(self, job_id: str, steps: Generator[Progress, None, GenerationResult]) -> None:
        self.job_id = job_id
        self._steps = steps
        self._cancelled = threading.Event()
        self._result: GenerationResult | None = None

    def __next__(self) -> Progress:
        if self._cancelled.is_set():
            self._steps.close()
            raise GenerationCancelled(f"job {self.job_id} was cancelled")
        try:
            return next(self._steps)
        except StopIteration as finished:
            # A finished generator stops again with None: keep what it returned first.
            self._result = self._result or finished.value
            raise StopIteration from None

    def cancel(self) -> None:
        """Stops the job at its next step: whoever pulls it then gets `GenerationCancelled`."""
        self._cancelled.set()

    def close(self) -> None:
        """Gives the job up, for the thread that pulls it. Safe at any time, also when done."""
        self._steps.close()

    def result(self) -> GenerationResult:
        """Runs what is left to run. Raises: what the job raised, `GenerationCancelled`."""
        for _ in self:
            pass
        if self._result is None:
            raise GenerationCancelled(f"job {self.job_id} was given up before its end")
        return self._result
