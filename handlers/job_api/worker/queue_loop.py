"""Loop of a worker that takes the tasks of one queue, also after outages of the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from procrastinate import App

HEARTBEAT_SECONDS = 3.0
_PAUSE_SECONDS = 1.0
_UNLIMITED_SECONDS = 1e9

logger = logging.getLogger(__name__)


class QueueLoop:
    """Loop of the worker named `worker`.

    `stopping`: it takes no more tasks. `leaving`: it does not wait for the queue any longer.
    """

    def __init__(
        self, app: App, worker: str, stopping: asyncio.Event, leaving: asyncio.Event
    ) -> None:
        self._app = app
        self._worker = worker
        self._stopping, self._leaving = stopping, leaving

    async def serve(self, name: str, concurrency: int) -> None:
        """Run at most `concurrency` tasks of a queue at once, until the worker stops."""
        while not self._stopping.is_set():
            await self._run_until_stopped(lambda: self._process_queue(name, concurrency))

    async def _process_queue(self, name: str, concurrency: int) -> None:
        await self._app.run_worker_async(
            queues=[name],
            name=self._worker,
            concurrency=concurrency,
            install_signal_handlers=False,
            update_heartbeat_interval=HEARTBEAT_SECONDS,
            # The rounds of recovery decide who is gone. A starting worker sees only old heartbeats,
            # also those of the living after an outage.
            stalled_worker_timeout=_UNLIMITED_SECONDS,
            fetch_job_polling_interval=1.0,
            # No limit: it also stops itself when the database is away, and jobs go on then.
            shutdown_graceful_timeout=_UNLIMITED_SECONDS,
            delete_jobs="never",
        )

    async def _run_until_stopped(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until it fails or the worker stops; its cancellation lets jobs finish."""
        work_task = asyncio.ensure_future(work())
        stop_task = asyncio.create_task(self._stopping.wait())
        leave_task = asyncio.create_task(self._leaving.wait())
        await asyncio.wait({work_task, stop_task}, return_when=asyncio.FIRST_COMPLETED)
        work_task.cancel()
        await asyncio.wait({work_task, leave_task}, return_when=asyncio.FIRST_COMPLETED)
        stop_task.cancel()
        leave_task.cancel()
        if not work_task.done():
            logger.warning("The queue does not answer; stopping without it.")
            return
        try:
            await work_task
        except asyncio.CancelledError:
            pass
        except Exception:
            logger.warning("The queue is unavailable; retrying.", exc_info=True)
            await asyncio.sleep(_PAUSE_SECONDS)
