"""Loading of the model requested last, beside running jobs."""

from __future__ import annotations

import asyncio
import logging

from handlers.contract import describe_error
from handlers.job_api.store.database import Pool
from handlers.job_api.store.models import read_requested_model, record_load_failure
from handlers.serving import Serving
from musicgen.errors import MusicGenError

POLL_SECONDS = 1.0

logger = logging.getLogger(__name__)


class ModelSwap:
    """Loader of the requested model. `loading`: the model in loading, for the worker's row."""

    def __init__(self, serving: Serving, pool: Pool) -> None:
        self._serving = serving
        self._pool = pool
        self.loading: str | None = None

    async def run(self) -> None:
        """Load each newly requested model, until cancelled.

        A model with a failed load is tried again only after a new request for it.
        """
        while True:
            try:
                await self._load_requested()
            except Exception:
                logger.warning("Checking for a requested model failed; retrying.", exc_info=True)
            await asyncio.sleep(POLL_SECONDS)

    async def _load_requested(self) -> None:
        model = await read_requested_model(self._pool)
        if model is None or model.error is not None or model.name in self._serving.models:
            return
        self.loading = model.name
        try:
            await asyncio.to_thread(self._serving.load, model.name)
        except Exception as error:
            is_known = isinstance(error, MusicGenError)
            text = "The requested model %s cannot be loaded: %s"
            logger.error(text, model.name, error, exc_info=None if is_known else error)
            report = describe_error(error)
            await record_load_failure(self._pool, model.name, report.text, report.code)
        finally:
            self.loading = None
