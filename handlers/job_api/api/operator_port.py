"""An API process as its operator's port sees it: metrics, and whether it takes calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from handlers.job_api.api.context import Context

ANSWER_SECONDS = 5.0


class MonitoredApi:
    """API behind a `HealthServer`, whose threads ask it through the API's event loop."""

    lost_device = False

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    @property
    def takes_jobs(self) -> bool:
        """Whether the API has started and is not stopping."""
        context = self._context
        return context is not None and not context.draining

    def render(self) -> bytes:
        """Return the metrics, none before the start of the API.

        Raises: `TimeoutError` if the event loop does not answer.
        """
        context = self._context
        if context is None:
            return b""
        metrics = context.render_metrics()
        return asyncio.run_coroutine_threadsafe(metrics, context.loop).result(ANSWER_SECONDS)

    @property
    def _context(self) -> Context | None:
        return getattr(self._app.state, "context", None)
