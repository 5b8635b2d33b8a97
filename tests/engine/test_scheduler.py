"""Admission to the batch for any order of arrivals and departures."""

from __future__ import annotations

import ast
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from musicgen.engine import scheduler
from musicgen.engine.scheduler import Scheduler

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(1, 20)),
        st.tuples(st.just("leave"), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(events=EVENTS, rows=st.integers(1, 16), max_waiting=st.integers(0, 5))
def test_nobody_is_overtaken_lost_or_squeezed_in(
    events: list[tuple[str, int]], rows: int, max_waiting: int
) -> None:
    plan: Scheduler[int] = Scheduler(rows, max_waiting)
    asked: list[int] = []
    sizes: dict[int, int] = {}
    admitted: list[int] = []
    gone: set[int] = set()

    def check() -> None:
        admitted.extend(plan.admit())
        active = plan.active
        taken = sum(sizes[each] for each in active)
        assert plan.active_rows == taken
        assert taken <= rows or len(active) == 1
        assert plan.queue_length <= max(max_waiting, 1)
        assert set(active) == set(admitted) - gone
        assert [*active, *plan.queue] == [each for each in asked if each not in gone]
        if plan.queue_length:
            assert active and taken + sizes[plan.queue[0]] > rows

    for number, (event, value) in enumerate(events):
        if event == "join":
            sizes[number] = value
            full = plan.queue_length >= max_waiting
            fits = not plan.queue_length and (not plan.active or plan.active_rows + value <= rows)
            assert plan.enqueue(number, value) == (fits or not full)
            if fits or not full:
                asked.append(number)
        elif asked:
            who = asked[value % len(asked)]
            plan.remove(who)
            gone.add(who)
        check()
    while plan.active:
        gone.add(plan.active[0])
        plan.remove(plan.active[0])
        check()
    assert not plan.queue_length
    in_order = [each for each in asked if each in set(admitted)]
    assert admitted == in_order, "first come, first served"


def test_a_large_one_is_served_in_its_turn() -> None:
    """Small requests with room beside the active ones do not starve it."""
    plan: Scheduler[str] = Scheduler(4, 10)
    for name, rows in (("a", 3), ("large", 4), ("b", 1)):
        assert plan.enqueue(name, rows)
    assert plan.admit() == ("a",) and plan.queue == ("large", "b")
    plan.remove("a")
    assert plan.admit() == ("large",)
    plan.remove("large")
    assert plan.admit() == ("b",)


def test_it_knows_no_torch() -> None:
    tree = ast.parse(Path(scheduler.__file__).read_text(encoding="utf-8"))
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= {"__future__", "collections", "typing"}
