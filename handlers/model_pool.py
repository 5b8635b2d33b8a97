"""A pool of loaded models: a bounded number, each shared by its requests. Imports no torch."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from musicgen.errors import GenerationCancelled, ModelTooLarge, MusicGenError

POLL_SECONDS = 0.1

logger = logging.getLogger(__name__)


class Closable(Protocol):
    """A model with memory to free."""

    def close(self) -> None:
        """Free the memory."""


Model = TypeVar("Model", bound=Closable)


class ModelPool(Generic[Model]):
    """At most `limit` models: `first` is loaded already, `load` loads others by name.

    Requests are served in order of arrival. A request for a model not loaded waits for room, made
    by closing the least recently used idle model, and later requests wait behind it. Loading one
    model does not hold up requests for loaded ones. Thread-safe.
    """

    def __init__(
        self, name: str, first: Model, load: Callable[[str], Model], limit: int = 1
    ) -> None:
        self._load_model, self._limit = load, limit
        # The least recently used first.
        self._models: OrderedDict[str, Model] = OrderedDict({name: first})
        self._users: dict[str, int] = {}
        self._line: list[object] = []
        self._loading: str | None = None
        self._changed = threading.Condition()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the loaded models, the least recently used first."""
        with self._changed:
            return tuple(self._models)

    @contextmanager
    def borrow(self, name: str, cancelled: threading.Event | None = None) -> Iterator[Model]:
        """Wait for the model `name` and keep it loaded within the context.

        Raises: the errors of loading; `GenerationCancelled` when `cancelled` is set while waiting.
        """
        model = self._acquire(name, cancelled or threading.Event())
        try:
            yield model
        finally:
            with self._changed:
                self._users[name] -= 1
                self._changed.notify_all()

    def _acquire(self, name: str, cancelled: threading.Event) -> Model:
        ticket = object()
        evicted: dict[str, Model] = {}
        with self._changed:
            self._line.append(ticket)
            try:
                while not self._can_proceed(ticket, name):
                    if cancelled.is_set():
                        raise GenerationCancelled(
                            "The request was cancelled while it waited for its model."
                        )
                    self._changed.wait(POLL_SECONDS)
                if name in self._models:
                    return self._mark_used(name)
                self._loading = name
                if len(self._models) >= self._limit:
                    evicted = self._evict(1)
            finally:
                self._line.remove(ticket)
                self._changed.notify_all()
        return self._load(name, evicted)

    def _can_proceed(self, ticket: object, name: str) -> bool:
        if self._line[0] is not ticket:
            return False
        if name in self._models:
            return True
        has_room = len(self._models) < self._limit or bool(self._list_idle())
        return self._loading is None and has_room

    def _load(self, name: str, evicted: dict[str, Model]) -> Model:
        """Close the evicted models and load another one. On failure load the first one again."""
        try:
            for model in evicted.values():
                model.close()
            try:
                model = self._load_model(name)
            except ModelTooLarge:
                with self._changed:
                    others = self._evict(len(self._models))
                if not others:
                    raise
                logger.warning("closed %s to make room for %s", ", ".join(others), name)
                for other in others.values():
                    other.close()
                model = self._load_model(name)
            with self._changed:
                self._models[name] = model
                return self._mark_used(name)
        except MusicGenError:
            for lost in list(evicted)[:1]:
                restored = self._load_model(lost)
                with self._changed:
                    self._models[lost] = restored
            raise
        finally:
            with self._changed:
                self._loading = None
                self._changed.notify_all()

    def _mark_used(self, name: str) -> Model:
        self._users[name] = self._users.get(name, 0) + 1
        self._models.move_to_end(name)
        return self._models[name]

    def _list_idle(self) -> list[str]:
        return [name for name in self._models if not self._users.get(name)]

    def _evict(self, most: int) -> dict[str, Model]:
        """Remove up to `most` idle models from the pool, the least recently used first."""
        return {name: self._models.pop(name) for name in self._list_idle()[:most]}
