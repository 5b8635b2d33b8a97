"""Running request: pull it for progress, cancel it from any thread, take its result."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

from musicgen.errors import GenerationCancelled
from musicgen.result import GenerationResult, Progress


class Generation(Iterator[Progress]):
    """Iterator over the progress of one request; it runs only while pulled, or little ahead.

    Iterate it to follow the progress and then call `result()`, or call `result()` at once.
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
        except StopIteration as end:
            # A finished generator stops again with None, so the first value is kept.
            self._result = self._result or end.value
            raise StopIteration from None

    def cancel(self) -> None:
        """Stop the job at its next step; pulling it then raises `GenerationCancelled`."""
        self._cancelled.set()

    def close(self) -> None:
        """Abandon the job, from the thread pulling it. Safe at any time, also at its end."""
        self._steps.close()

    def result(self) -> GenerationResult:
        """Run the remaining steps and return the result.

        Raises: the error of the job; `GenerationCancelled`.
        """
        for _ in self:
            pass
        if self._result is None:
            raise GenerationCancelled(f"job {self.job_id} was closed before its end")
        return self._result
