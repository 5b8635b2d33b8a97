"""The models that are loaded: a few, each for as many requests as want it, the longest idle one
making room for the next. Knows no torch."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from musicgen.errors import GenerationCancelled, ModelTooLarge, MusicGenError

LOOK_AGAIN_SECONDS = 0.1

logger = logging.getLogger(__name__)


class Closable(Protocol):
    def close(self) -> None: ...


Model = TypeVar("Model", bound=Closable)


class ModelPool(Generic[Model]):
    """At most `limit` models, of which `first` is loaded already; `load` makes others by their
    names.

    Who comes first is served first: a request for a model that is not loaded waits until there is
    room, which an idle model makes by being closed, and later requests wait behind it. While a
    model is being loaded, requests for those that are there go on. Safe for threads.
    """

    def __init__(
        self, name: str, first: Model, load: Callable[[str], Model], limit: int = 1
    ) -> None:
        self._load_model, self._limit = load, limit
        # In the order of their last use, the longest ago first.
        self._models: OrderedDict[str, Model] = OrderedDict({name: first})
        self._users: dict[str, int] = {}
        self._line: list[object] = []
        self._loading: str | None = None
        self._changed = threading.Condition()

    @property
    def names(self) -> tuple[str, ...]:
        with self._changed:
            return tuple(self._models)

    @property
    def users(self) -> int:
        with self._changed:
            return sum(self._users.values())

    @contextmanager
    def using(self, name: str, gave_up: threading.Event | None = None) -> Iterator[Model]:
        """The model `name`, which stays loaded meanwhile.

        Raises: what loading raises, `GenerationCancelled` when `gave_up` is set before its turn.
        """
        model = self._taken(name, gave_up or threading.Event())
        try:
            yield model
        finally:
            with self._changed:
                self._users[name] -= 1
                self._changed.notify_all()

    def _taken(self, name: str, gave_up: threading.Event) -> Model:
        turn = object()
        evicted: dict[str, Model] = {}
        with self._changed:
            self._line.append(turn)
            try:
                while not self._may_go(turn, name):
                    if gave_up.is_set():
                        raise GenerationCancelled("the request was given up before its turn came")
                    self._changed.wait(LOOK_AGAIN_SECONDS)
                if name in self._models:
                    return self._used(name)
                self._loading = name
                if len(self._models) >= self._limit:
                    evicted = self._evicted(1)
            finally:
                self._line.remove(turn)
                self._changed.notify_all()
        return self._loaded(name, evicted)

    def _may_go(self, turn: object, name: str) -> bool:
        if self._line[0] is not turn:
            return False
        if name in self._models:
            return True
        has_room = len(self._models) < self._limit or bool(self._idle())
        return self._loading is None and has_room

    def _loaded(self, name: str, evicted: dict[str, Model]) -> Model:
        """Loads a model in the place of those that are `evicted`, or brings these back."""
        try:
            for model in evicted.values():
                model.close()
            try:
                model = self._load_model(name)
            except ModelTooLarge:
                with self._changed:
                    others = self._evicted(len(self._models))
                if not others:
                    raise
                logger.warning("closed %s to make room for %s", ", ".join(others), name)
                for other in others.values():
                    other.close()
                model = self._load_model(name)
            with self._changed:
                self._models[name] = model
                return self._used(name)
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

    def _used(self, name: str) -> Model:
        self._users[name] = self._users.get(name, 0) + 1
        self._models.move_to_end(name)
        return self._models[name]

    def _idle(self) -> list[str]:
        return [name for name in self._models if not self._users.get(name)]

    def _evicted(self, most: int) -> dict[str, Model]:
        """Takes idle models out, those first that were used the longest ago."""
        return {name: self._models.pop(name) for name in self._idle()[:most]}
