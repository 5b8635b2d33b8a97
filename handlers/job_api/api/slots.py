"""Limits of simultaneous work in an API process, in total and of one client."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from handlers.job_api.errors import ServerBusy


class Slots:
    """Slots for one kind of work.

    `total`: slots of this process. `per_client`: slots of one client, so that no client holds all
    of them. `seconds`: longest wait for a slot. `work`: a plural noun for the error.
    """

    def __init__(self, work: str, total: int, per_client: int, seconds: float = 20.0) -> None:
        self._work, self._seconds = work, seconds
        self._per_client = per_client
        self._all = asyncio.Semaphore(total)
        self._clients: dict[str, asyncio.Semaphore] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def hold(self, client: str) -> AsyncIterator[None]:
        """Hold a slot, after a wait in the order of arrival. Raises: `ServerBusy`."""
        own = self._clients.setdefault(client, asyncio.Semaphore(self._per_client))
        self._users[client] = self._users.get(client, 0) + 1
        try:
            async with self._acquire(own), self._acquire(self._all):
                yield
        finally:
            self._users[client] -= 1
            if not self._users[client]:
                del self._users[client], self._clients[client]

    @asynccontextmanager
    async def _acquire(self, semaphore: asyncio.Semaphore) -> AsyncIterator[None]:
        with anyio.move_on_after(self._seconds) as scope:
            await semaphore.acquire()
        if scope.cancelled_caught:
            seconds = math.ceil(self._seconds)
            raise ServerBusy(f"Too many {self._work} at once. Try again in {seconds} s.", seconds)
        try:
            yield
        finally:
            semaphore.release()
