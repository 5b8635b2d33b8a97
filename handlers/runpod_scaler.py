"""Worker loop of RunPod's SDK, made to run every job that it takes."""

from __future__ import annotations

import asyncio
from typing import Any


def keep_last_jobs() -> None:
    """Run the jobs that come after SIGTERM too. Call before `runpod.serverless.start`.

    A poll for jobs that is open at SIGTERM can still bring some. The SDK's loop has ended by then:
    it queues them and exits, and their callers wait for an answer until RunPod's time limit.
    """
    from runpod.serverless.modules import rp_scale

    class LastJobsScaler(rp_scale.JobScaler):  # type: ignore[misc]
        """`JobScaler` that ends after its last poll and the jobs of it."""

        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            self._polls_ended = asyncio.Event()

        async def get_jobs(self, session: Any) -> None:
            """Take jobs until SIGTERM."""
            try:
                await super().get_jobs(session)
            finally:
                self._polls_ended.set()

        async def run_jobs(self, session: Any) -> None:
            """Run the jobs taken, until SIGTERM and the end of the last poll."""
            await super().run_jobs(session)
            await self._polls_ended.wait()
            await super().run_jobs(session)

    rp_scale.JobScaler = LastJobsScaler
