"""One predictor shared by the calls of a platform: which model is loaded, and who may run.

serving = Serving(predictor)
result = serving.run(request)                      # in a thread that may wait

async with serving.follow(request) as run:         # on an event loop that must not
    async for progress in run:
        ...
    result = await run.finished()
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handlers.contract import ServedPredictor
from handlers.following import Followed
from musicgen import catalog
from musicgen.errors import GenerationCancelled, UnknownModel
from musicgen.generation import Generation
from musicgen.request import GenerationRequest, StreamForm
from musicgen.result import GenerationResult
from musicgen.settings import Delivery

LOOK_AGAIN_SECONDS = 0.1


class Serving:
    """Starts requests on `predictor`, loading another model of the catalog when one is named.

    A caller that names no model gets the one that was loaded first, whoever came in between. The
    model is only changed while nothing runs; who waits for that is not overtaken.
    """

    def __init__(self, predictor: ServedPredictor) -> None:
        self._predictor = predictor
        self._default_model, self._default_label = predictor.model, predictor.label
        self._entrance = threading.Lock()
        self._changed = threading.Condition()
        self._running = 0

    @property
    def slots(self) -> int:
        """How many requests may run at once."""
        return self._predictor.slots

    def run(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        delivery: Delivery | None = None,
    ) -> GenerationResult:
        """Raises: what the generation raises, and `UnknownModel` or a `CheckpointError`."""
        with self.started(request, job_id, delivery=delivery) as generation:
            return generation.result()

    def follow(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
    ) -> Followed:
        """The same in a thread of its own, to be followed from an event loop."""
        return Followed(
            lambda gave_up: self.started(
                request, job_id, stream=stream, delivery=delivery, gave_up=gave_up
            )
        )

    @contextmanager
    def started(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
        gave_up: threading.Event | None = None,
    ) -> Iterator[Generation]:
        """A generation that nobody takes the model from, closed on the way out.

        Raises: `GenerationCancelled` when `gave_up` is set before its turn comes.
        """
        self._enter(self._model_of(request), gave_up or threading.Event())
        try:
            generation = self._predictor.start(request, job_id, stream=stream, delivery=delivery)
            try:
                yield generation
            finally:
                generation.close()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _model_of(self, request: GenerationRequest) -> str:
        """Only names of the catalog: a caller must not make this machine read or fetch others."""
        asked = request.model_version
        if asked is None or asked in (self._default_model, self._default_label):
            return self._default_model
        entry = catalog.find(asked)
        if entry is None:
            # A folder is not named: callers need not know where things lie on this machine.
            own = [] if Path(self._default_model).is_dir() else [self._default_model]
            names = dict.fromkeys([*own, *catalog.CATALOG])
            raise UnknownModel("model_version", asked, names)
        return entry.name

    def _enter(self, model: str, gave_up: threading.Event) -> None:
        while not self._entrance.acquire(timeout=LOOK_AGAIN_SECONDS):
            _check(gave_up)
        try:
            with self._changed:
                while self._predictor.model != model and self._running:
                    _check(gave_up)
                    self._changed.wait(LOOK_AGAIN_SECONDS)
                if self._predictor.model != model:
                    self._predictor.switch_model(model)
                self._running += 1
        finally:
            self._entrance.release()


def _check(gave_up: threading.Event) -> None:
    if gave_up.is_set():
        raise GenerationCancelled("the request was given up before its turn came")
