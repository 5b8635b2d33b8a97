"""A few models for many requests: who waits, who is closed, and what a failure leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.model_pool import ModelPool
from musicgen.errors import CheckpointCorrupt, GenerationCancelled, ModelTooLarge

DEADLINE = 30.0


class _Shelf:
    """Makes models that know whether they are closed, and counts those that are open."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.open = self.most_open = 0
        self.lock = threading.Lock()
        self.broken: set[str] = set()
        self.room: int | None = None
        self.gate = threading.Event()
        self.gate.set()

    def load(self, name: str) -> _Model:
        self.gate.wait(DEADLINE)
        with self.lock:
            self.log.append(f"load {name}")
            if name in self.broken:
                raise CheckpointCorrupt(f"{name} is cut off")
            if self.room is not None and self.open >= self.room:
                raise ModelTooLarge(name, "int8", "cpu", 2, 1)
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        return _Model(self, name)

    def pool(self, limit: int) -> ModelPool[_Model]:
        return ModelPool("a", self.load("a"), self.load, limit)


class _Model:
    def __init__(self, shelf: _Shelf, name: str) -> None:
        self.shelf, self.name, self.closed = shelf, name, False

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        with self.shelf.lock:
            self.shelf.open -= 1
            self.shelf.log.append(f"close {self.name}")


def _eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def _use(pool: ModelPool[_Model], *names: str) -> None:
    for name in names:
        with pool.borrow(name) as model:
            assert model.name == name and not model.closed


def _assert_idle(pool: ModelPool[_Model], limit: int) -> None:
    """New models take the place of all that are loaded, at once: nobody uses those any more."""
    cancelled = threading.Event()
    cancelled.set()
    with ExitStack() as stack:
        for number in range(limit):
            stack.enter_context(pool.borrow(f"new {number}", cancelled))


def test_one_model_at_a_time_is_closed_before_the_next_is_loaded() -> None:
    """Guards two models in a memory that has room for one."""
    shelf = _Shelf()
    pool = shelf.pool(1)
    _use(pool, "a", "b", "b", "a")
    assert shelf.log == ["load a", "close a", "load b", "close b", "load a"]
    assert shelf.most_open == 1


def test_the_longest_idle_one_makes_room() -> None:
    """Guards a dictionary of models that grows for ever."""
    shelf = _Shelf()
    pool = shelf.pool(3)
    _use(pool, "b", "c", "a", "d", "b")
    assert pool.names == ("a", "d", "b")
    assert [line for line in shelf.log if "close" in line] == ["close b", "close c"]


def test_another_model_is_loaded_while_the_first_one_works() -> None:
    shelf = _Shelf()
    pool = shelf.pool(2)
    with pool.borrow("a") as first:
        _use(pool, "b", "a", "c")
        assert not first.closed
    assert pool.names == ("a", "c") or pool.names == ("c", "a")


def test_requests_for_loaded_models_go_on_while_one_is_being_loaded() -> None:
    shelf = _Shelf()
    pool = shelf.pool(2)
    shelf.gate.clear()
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(_use, pool, "b")
        _eventually(lambda: pool._loading == "b")
        _use(pool, "a", "a")
        shelf.gate.set()
        waiting.result(DEADLINE)
    assert pool.names == ("a", "b")


def test_who_waits_for_room_is_not_overtaken() -> None:
    """Guards a model that is never loaded because another one is always in use."""
    shelf = _Shelf()
    pool = shelf.pool(1)
    order: list[str] = []

    def use(name: str) -> None:
        with pool.borrow(name):
            order.append(name)

    with ThreadPoolExecutor(3) as callers:
        with pool.borrow("a"):
            waiting = []
            for name in ("b", "a", "b"):
                waiting.append(callers.submit(use, name))
                _eventually(lambda: len(pool._line) == len(waiting))
            assert order == []
        for caller in waiting:
            caller.result(DEADLINE)
    assert order == ["b", "a", "b"]


def test_who_gives_up_leaves_the_line() -> None:
    shelf = _Shelf()
    pool = shelf.pool(1)
    cancelled = threading.Event()
    cancelled.set()
    with pool.borrow("a"):
        with pytest.raises(GenerationCancelled), pool.borrow("b", cancelled):
            pass
        _use(pool, "a")
    assert shelf.log == ["load a"] and not pool._line


def test_a_model_that_fails_leaves_the_one_before() -> None:
    shelf = _Shelf()
    shelf.broken = {"b"}
    pool = shelf.pool(1)
    for _ in range(2):
        with pytest.raises(CheckpointCorrupt), pool.borrow("b"):
            pass
        _use(pool, "a")
    assert shelf.most_open == 1
    shelf.broken = set()
    _assert_idle(pool, 1)


def test_a_model_for_which_memory_is_short_takes_that_of_idle_ones() -> None:
    shelf = _Shelf()
    pool = shelf.pool(4)
    _use(pool, "b", "c")
    shelf.room = 1
    _use(pool, "d")
    assert pool.names == ("d",) and shelf.open == 1
    with pool.borrow("d"), pytest.raises(ModelTooLarge), pool.borrow("a"):
        pass
    _use(pool, "d")


@settings(max_examples=25, deadline=None)
@given(
    limit=st.integers(1, 3),
    uses=st.lists(st.lists(st.sampled_from("abcd"), max_size=6), min_size=1, max_size=5),
)
def test_any_traffic_is_served_within_the_limit(limit: int, uses: list[list[str]]) -> None:
    shelf = _Shelf()
    pool = shelf.pool(limit)
    with ThreadPoolExecutor(len(uses)) as callers:
        for caller in [callers.submit(_use, pool, *names) for names in uses]:
            caller.result(DEADLINE)
    assert shelf.most_open <= limit
    assert len(pool.names) == shelf.open <= limit
    assert not pool._line
    _assert_idle(pool, limit)
