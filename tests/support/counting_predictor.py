"""A real predictor that counts its generations under way."""

from __future__ import annotations

import threading
from collections.abc import Generator

from musicgen.generation import Generation
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest, StreamForm
from musicgen.result import GenerationResult, Progress
from musicgen.settings import Delivery


class CountingPredictor:
    """Wraps `predictor`; `running` is the number of its generations begun and not yet closed."""

    models_kept = 1

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._lock = threading.Lock()
        self.model, self.label, self.licence = predictor.model, predictor.label, predictor.licence
        self.slots = predictor.slots
        self.running = 0

    def start(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
    ) -> Generation:
        generation = self._predictor.start(request, job_id, stream=stream, delivery=delivery)
        return Generation(generation.job_id, self._count(generation))

    def _count(self, generation: Generation) -> Generator[Progress, None, GenerationResult]:
        with self._lock:
            self.running += 1
        try:
            yield from generation
            return generation.result()
        finally:
            generation.close()
            with self._lock:
                self.running -= 1

    def other(self, name: str) -> CountingPredictor:
        raise AssertionError("no other model is asked for")

    def close(self) -> None:
        pass
