"""Loading the model that is wanted now, beside the jobs that run."""

from __future__ import annotations

import asyncio
import logging

from handlers.job_api.database import Pool
from handlers.job_api.models import wanted_model
from handlers.serving import Serving
from musicgen.errors import MusicGenError

LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Swap:
    """`loading` is the model that is being loaded, which a worker tells the others."""

    def __init__(self, serving: Serving, pool: Pool) -> None:
        self._serving = serving
        self._pool = pool
        self._failed: str | None = None
        self.loading: str | None = None

    async def follow(self) -> None:
        """Loads what is wanted whenever that changes, until it is cancelled. A model that cannot
        be loaded is not tried again until another one was wanted."""
        while True:
            try:
                await self._look()
            except MusicGenError as error:
                self._failed = self.loading
                logger.error(
                    "the model %s that is wanted cannot be loaded: %s", self.loading, error
                )
            except Exception:
                logger.warning("looking for the wanted model failed", exc_info=True)
            finally:
                self.loading = None
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        wanted = await wanted_model(self._pool)
        if wanted != self._failed:
            self._failed = None
        if wanted is None or wanted == self._failed or wanted in self._serving.models:
            return
        self.loading = wanted
        await asyncio.to_thread(self._serving.load, wanted)
