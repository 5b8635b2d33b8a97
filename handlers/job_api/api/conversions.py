"""Conversions of clips: the same one is made once, and few are made at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from handlers.job_api.api.slots import Slots

AT_ONCE = 2
"""A clip of five minutes takes some 230 MB."""
SECONDS_MAX = 60.0


class Conversions:
    """Conversions of this process, by a name of clip and format."""

    def __init__(self) -> None:
        self._slots = Slots("conversions", AT_ONCE, AT_ONCE, SECONDS_MAX)
        self._running: dict[str, asyncio.Task[Path]] = {}

    async def run(self, name: str, client: str, convert: Callable[[], Path]) -> Path:
        """Return the file of `convert`, run in a thread, or of a running call with this name.

        Raises: the errors of `convert`, `ServerBusy`.
        """
        task = self._running.get(name)
        if task is None:
            task = asyncio.create_task(self._convert(client, convert), name=f"convert {name}")
            self._running[name] = task
            task.add_done_callback(lambda done: self._forget(name, done))
        # One caller that hangs up must not end the conversion of the others.
        return await asyncio.shield(task)

    async def _convert(self, client: str, convert: Callable[[], Path]) -> Path:
        async with self._slots.hold(client):
            return await asyncio.to_thread(convert)

    def _forget(self, name: str, task: asyncio.Task[Path]) -> None:
        del self._running[name]
        if not task.cancelled():
            # Read, or asyncio reports the error of a conversion without a caller.
            task.exception()
