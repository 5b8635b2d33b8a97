"""First-come, first-served admission to a batch of limited rows. Imports no torch."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Scheduler(Generic[Item]):
    """FIFO queue of requests and the set of active ones; each uses some rows of the batch.

    A request without room blocks those behind it, so large requests are not starved. A request
    larger than the whole batch runs alone. Not thread-safe.
    """

    def __init__(self, rows: int, max_waiting: int) -> None:
        self.rows = rows
        self.max_waiting = max_waiting
        self._waiting: deque[tuple[Item, int]] = deque()
        self._active: dict[Item, int] = {}

    @property
    def active(self) -> tuple[Item, ...]:
        """Active items, in order of arrival."""
        return tuple(self._active)

    @property
    def queue(self) -> tuple[Item, ...]:
        """Queued items, in order of arrival."""
        return tuple(item for item, _ in self._waiting)

    @property
    def queue_length(self) -> int:
        """Number of queued items."""
        return len(self._waiting)

    @property
    def active_rows(self) -> int:
        """Rows used by the active items."""
        return sum(self._active.values())

    def enqueue(self, item: Item, rows: int) -> bool:
        """Append `item` to the queue; return False if it would have to wait in a full queue."""
        must_wait = bool(self._waiting) or not self._fits(rows)
        if must_wait and len(self._waiting) >= self.max_waiting:
            return False
        self._waiting.append((item, rows))
        return True

    def admit(self) -> tuple[Item, ...]:
        """Activate items from the front of the queue as long as they fit, and return them."""
        admitted = []
        while self._waiting and self._fits(self._waiting[0][1]):
            item, rows = self._waiting.popleft()
            self._active[item] = rows
            admitted.append(item)
        return tuple(admitted)

    def remove(self, item: Item) -> None:
        """Remove a queued or active item: done, failed or cancelled. Safe to repeat."""
        self._active.pop(item, None)
        if any(queued is item for queued, _ in self._waiting):
            self._waiting = deque(pair for pair in self._waiting if pair[0] is not item)

    def _fits(self, rows: int) -> bool:
        return not self._active or self.active_rows + rows <= self.rows
