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

from handlers.async_generation import Followed
from handlers.contract import ServedPredictor
from handlers.model_pool import ModelPool
from musicgen import catalog
from musicgen.errors import UnknownModel
from musicgen.generation import Generation
from musicgen.request import GenerationRequest, StreamForm
from musicgen.result import GenerationResult
from musicgen.settings import Delivery


class Serving:
    """Starts requests on `predictor`, or on another model of the catalog when one is named.

    A caller that names no model gets the one that was loaded first, whoever came in between. As
    many models as the predictor says are kept; who waits for one is not overtaken.
    """

    def __init__(self, predictor: ServedPredictor) -> None:
        self._first = predictor
        self._default_model, self._default_label = predictor.model, predictor.label
        self._pool: ModelPool[ServedPredictor] = ModelPool(
            predictor.model, predictor, predictor.other, predictor.models_kept
        )

    @property
    def slots(self) -> int:
        """How many requests may run at once."""
        return self._first.slots

    @property
    def models(self) -> tuple[str, ...]:
        """What is loaded, by the names that callers use; the first one is the default's if it is
        among them."""
        names = sorted(self._pool.names, key=lambda name: name != self._default_model)
        return tuple(self._default_label if n == self._default_model else n for n in names)

    def load(self, model: str) -> None:
        """Loads a model of the catalog, if it is not there, without a request for it.

        Raises: `UnknownModel`, a `CheckpointError`, `ModelTooLarge`.
        """
        with self._pool.using(self._named(model)):
            pass

    def has_loaded(self, model: str | None) -> bool:
        """Whether requests for `model` need not wait for it to be loaded."""
        entry = catalog.find(model) if model else None
        name = entry.name if entry else model or self._default_model
        return name in (*self._pool.names, self._default_label)

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
        with self._pool.using(self._model_of(request), gave_up) as predictor:
            generation = predictor.start(request, job_id, stream=stream, delivery=delivery)
            try:
                yield generation
            finally:
                generation.close()

    def _model_of(self, request: GenerationRequest) -> str:
        """Only names of the catalog: a caller must not make this machine read or fetch others."""
        return self._named(request.model_version)

    def _named(self, asked: str | None) -> str:
        if asked is None or asked in (self._default_model, self._default_label):
            return self._default_model
        entry = catalog.find(asked)
        if entry is None:
            # A folder is not named: callers need not know where things lie on this machine.
            own = [] if Path(self._default_model).is_dir() else [self._default_model]
            names = dict.fromkeys([*own, *catalog.CATALOG])
            raise UnknownModel.for_choice("model_version", asked, names)
        return entry.name
