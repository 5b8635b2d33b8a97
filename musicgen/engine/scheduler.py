"""Who is decoded together: first come, first served, within a number of rows. Knows no torch."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Scheduler(Generic[Item]):
    """Requests wait in a line and are active until they leave; each takes some rows of the batch.

    Nobody is overtaken: a request that does not fit yet keeps those behind it waiting, so that a
    large one is served in its turn. One that is larger than the whole batch is active alone. Not
    safe for threads by itself.
    """

    def __init__(self, rows: int, max_waiting: int) -> None:
        self.rows = rows
        self.max_waiting = max_waiting
        self._waiting: deque[tuple[Item, int]] = deque()
        self._active: dict[Item, int] = {}

    @property
    def active(self) -> tuple[Item, ...]:
        """In the order in which they came."""
        return tuple(self._active)

    @property
    def queued(self) -> tuple[Item, ...]:
        """Those who wait, the next one first."""
        return tuple(item for item, _ in self._waiting)

    @property
    def queue_length(self) -> int:
        return len(self._waiting)

    @property
    def active_rows(self) -> int:
        return sum(self._active.values())

    def enqueue(self, item: Item, rows: int) -> bool:
        """Puts `item` at the end of the line; False if as many wait as may."""
        must_wait = bool(self._waiting) or not self._fits(rows)
        if must_wait and len(self._waiting) >= self.max_waiting:
            return False
        self._waiting.append((item, rows))
        return True

    def admit(self) -> tuple[Item, ...]:
        """Makes active whoever fits, from the front of the line, and returns them."""
        admitted = []
        while self._waiting and self._fits(self._waiting[0][1]):
            item, rows = self._waiting.popleft()
            self._active[item] = rows
            admitted.append(item)
        return tuple(admitted)

    def remove(self, item: Item) -> None:
        """`item` is done, failed or cancelled, waiting or active. Safe to repeat."""
        self._active.pop(item, None)
        if any(queued is item for queued, _ in self._waiting):
            self._waiting = deque(pair for pair in self._waiting if pair[0] is not item)

    def _fits(self, rows: int) -> bool:
        return not self._active or self.active_rows + rows <= self.rows
