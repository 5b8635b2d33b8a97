"""The one way in: a platform's payload to a running generation, on models shared by all calls.

serving = Serving(predictor, settings.input_networks)

with serving.open_generation(payload) as generation:      # in a thread that may block
    result = generation.result()

async with serving.follow(payload) as generation:         # on an event loop
    async for progress in generation:
        ...
    result = await generation.result()

Both fetch the input audio, build the request, wait for the model and start, in this order.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from handlers.async_generation import AsyncGeneration
from handlers.contract import ServedPredictor
from handlers.input_audio import open_input_audio
from handlers.model_pool import ModelPool
from musicgen import catalog
from musicgen.errors import UnknownModel
from musicgen.generation import Generation
from musicgen.request import GenerationRequest, StreamForm
from musicgen.result import GenerationResult
from musicgen.settings import Delivery


class Serving:
    """One predictor, and the other models of the catalog in its place when a request names one.

    A request without a model gets the model loaded first. The predictor's `models_kept` bounds the
    number of loaded models; requests waiting for one are served in order of arrival. Input audio
    may come from public addresses and from `input_networks`. Thread-safe.
    """

    def __init__(self, predictor: ServedPredictor, input_networks: tuple[str, ...] = ()) -> None:
        self._first = predictor
        self._input_networks = input_networks
        self._default_licence = predictor.licence
        self._default_model, self._default_label = predictor.model, predictor.label
        self._pool: ModelPool[ServedPredictor] = ModelPool(
            predictor.model, predictor, predictor.other, predictor.models_kept
        )

    @property
    def slots(self) -> int:
        """Number of requests decoded at once."""
        return self._first.slots

    @property
    def models(self) -> tuple[str, ...]:
        """Public names of the loaded models, the default one first if it is loaded."""
        names = sorted(self._pool.names, key=lambda name: name != self._default_model)
        return tuple(self._default_label if n == self._default_model else n for n in names)

    @property
    def licences(self) -> dict[str, str]:
        """Licence by public name of the default model; requests name others from the catalog."""
        return {self._default_label: self._default_licence}

    def load(self, model: str) -> None:
        """Load a model of the catalog ahead of its first request.

        Raises: `UnknownModel`, a `CheckpointError`, `ModelTooLarge`.
        """
        with self._pool.borrow(self._resolve_model(model)):
            pass

    def has_loaded(self, model: str | None) -> bool:
        """Whether a request for `model` can start without loading it first."""
        entry = catalog.find(model) if model else None
        name = entry.name if entry else model or self._default_model
        return name in (*self._pool.names, self._default_label)

    def open_audio(
        self, payload: Mapping[str, Any], cancelled: threading.Event
    ) -> AbstractContextManager[dict[str, Any]]:
        """Fetch the input audio of a payload alone, as `open_request` does before its request.

        Raises: `InvalidInputAudio`, `GenerationCancelled` once `cancelled` is set.
        """
        return open_input_audio(payload, self._input_networks, cancelled)

    @contextmanager
    def open_request(
        self, payload: Mapping[str, Any], cancelled: threading.Event | None = None
    ) -> Iterator[GenerationRequest]:
        """Fetch the input audio of a payload and build its request.

        The fetched file is deleted on leaving the context. Blocks while fetching.

        Raises: `InvalidRequest` for the audio, then for the other fields; `GenerationCancelled`
        when `cancelled` is set while fetching.
        """
        with open_input_audio(payload, self._input_networks, cancelled) as fields:
            yield GenerationRequest.from_mapping(fields)

    @contextmanager
    def start(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[Generation]:
        """Start a request once its model is free, and keep the model loaded meanwhile.

        The generation is closed on leaving the context. Blocks while waiting for the model.

        `cancelled` also ends an upload to the bucket of `delivery`.

        Raises: `UnknownModel`, a `CheckpointError`, `ModelTooLarge`; `GenerationCancelled` when
        `cancelled` is set while waiting.
        """
        if delivery is not None:
            delivery = replace(delivery, cancelled=cancelled)
        model = self._resolve_model(request.model_version)
        with self._pool.borrow(model, cancelled) as predictor:
            generation = predictor.start(request, job_id, stream=stream, delivery=delivery)
            try:
                yield generation
            finally:
                generation.close()

    @contextmanager
    def open_generation(
        self,
        payload: Mapping[str, Any],
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[Generation]:
        """Start the request of a payload: `open_request`, then `start`, with the errors of both."""
        with (
            self.open_request(payload, cancelled) as request,
            self.start(
                request, job_id, stream=stream, delivery=delivery, cancelled=cancelled
            ) as generation,
        ):
            yield generation

    def follow(
        self,
        payload: Mapping[str, Any],
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
    ) -> AsyncGeneration:
        """Return `open_generation` for an event loop: everything blocking happens in a thread."""
        return AsyncGeneration(
            lambda cancelled: self.open_generation(
                payload, job_id, stream=stream, delivery=delivery, cancelled=cancelled
            )
        )

    def run(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        delivery: Delivery | None = None,
    ) -> GenerationResult:
        """Run a request to its end.

        Raises: the errors of `start` and of the generation.
        """
        with self.start(request, job_id, delivery=delivery) as generation:
            return generation.result()

    def _resolve_model(self, name: str | None) -> str:
        """Return the model of a request by its name in the catalog.

        Other names are refused: a caller must not make this machine read or fetch them.
        """
        if name is None or name in (self._default_model, self._default_label):
            return self._default_model
        entry = catalog.find(name)
        if entry is None:
            # A folder is not named: callers need not know where things lie on this machine.
            own = [] if Path(self._default_model).is_dir() else [self._default_model]
            names = dict.fromkeys([*own, *catalog.CATALOG])
            raise UnknownModel.for_choice("model_version", name, names)
        return entry.name
