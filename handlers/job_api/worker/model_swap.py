"""Loading the model that is wanted now, beside the jobs that run."""

from __future__ import annotations

import asyncio
import logging

from handlers.contract import describe_error
from handlers.job_api.store.database import Pool
from handlers.job_api.store.models import cannot_load, wanted_model
from handlers.serving import Serving
from musicgen.errors import MusicGenError

LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Swap:
    """`loading` is the model that is being loaded, which a worker tells the others."""

    def __init__(self, serving: Serving, pool: Pool) -> None:
        self._serving = serving
        self._pool = pool
        self.loading: str | None = None

    async def follow(self) -> None:
        """Loads what is wanted whenever that changes, until it is cancelled. A model that cannot
        be loaded is not tried again until it is wanted again."""
        while True:
            try:
                await self._look()
            except Exception:
                logger.warning("looking for the wanted model failed", exc_info=True)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        wanted = await wanted_model(self._pool)
        if wanted is None or wanted.error is not None or wanted.name in self._serving.models:
            return
        self.loading = wanted.name
        try:
            await asyncio.to_thread(self._serving.load, wanted.name)
        except MusicGenError as error:
            logger.error("the model %s that is wanted cannot be loaded: %s", wanted.name, error)
            await cannot_load(self._pool, wanted.name, describe_error(error).text)
        finally:
            self.loading = None
