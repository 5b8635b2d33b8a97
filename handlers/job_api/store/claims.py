"""Claims of waiting jobs: fair among owners, and a worker takes only jobs that it can make.

procrastinate claims by queue alone. A queue for each set of needs or owner would lose the order
among them, and its notifications reach only workers that already know the queue. The order is
that of `musicgen_claim` in the migration `0090_fair_claims`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from handlers.job_api.store import queue

if TYPE_CHECKING:
    from procrastinate import App

# Within one statement: a worker that is frozen between two would keep all others waiting.
_CLAIM = "SELECT * FROM musicgen_claim(%(queue)s, %(abilities)s::text[], %(worker_id)s)"


def share_claims(app: App, abilities: Callable[[], Sequence[str] | None]) -> None:
    """Have the workers of `app` claim jobs fairly among owners, and only those they can make.

    `abilities`: returns the needs of jobs that they can make, or None for any job.
    """
    app.job_manager = _FairManager(app, abilities)


class _FairManager(JobManager):
    """Manager of procrastinate's jobs that heeds owners and the abilities of its worker."""

    def __init__(self, app: App, abilities: Callable[[], Sequence[str] | None]) -> None:
        super().__init__(app.connector)
        self._abilities = abilities

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Claim the next task of `queues`, or return None."""
        names = None if queues is None else list(queues)
        if names is None or len(names) != 1 or names[0] not in (queue.LOCAL, queue.REMOTE):
            return await super().fetch_job(names, worker_id)
        able = self._abilities()
        rows = await self.connector.execute_query_all_async(
            _CLAIM,
            queue=names[0],
            abilities=None if able is None else list(able),
            worker_id=worker_id,
        )
        return Job.from_row(rows[0]) if rows else None
