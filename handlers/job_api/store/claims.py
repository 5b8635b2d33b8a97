"""Claims of waiting jobs: a worker takes only those that it can make.

procrastinate claims by queue alone. A queue for each set of needs would lose the order among them,
and its notifications reach only workers that already know the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from handlers.job_api.store import queue

if TYPE_CHECKING:
    from procrastinate import App

# The needs are read by a subquery of one row: a join might read all jobs at each claim. Tasks of
# this queue have no lock, so procrastinate's check of locks is left out.
_CLAIM = """
    WITH candidate AS (
        SELECT p.id FROM procrastinate_jobs p
        WHERE p.status = 'todo' AND p.queue_name = %(queue)s AND p.lock IS NULL
            AND (p.scheduled_at IS NULL OR p.scheduled_at <= now())
            AND coalesce((SELECT j.needs FROM musicgen_jobs j WHERE j.id = p.args->>'job_id')
                <@ %(abilities)s::text[], true)
        ORDER BY p.priority DESC, p.id LIMIT 1
        FOR UPDATE OF p SKIP LOCKED
    )
    UPDATE procrastinate_jobs p SET status = 'doing', worker_id = %(worker_id)s
    FROM candidate WHERE p.id = candidate.id RETURNING p.*
"""


def limit_claims(app: App, abilities: Callable[[], Sequence[str]]) -> None:
    """Have the workers of `app` take only local jobs whose needs are among `abilities`."""
    app.job_manager = _AbleManager(app, abilities)


class _AbleManager(JobManager):
    """Manager of procrastinate's jobs that heeds the abilities of its worker."""

    def __init__(self, app: App, abilities: Callable[[], Sequence[str]]) -> None:
        super().__init__(app.connector)
        self._abilities = abilities

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Claim the next task of `queues`, or return None."""
        names = None if queues is None else list(queues)
        if names != [queue.LOCAL]:
            return await super().fetch_job(names, worker_id)
        rows = await self.connector.execute_query_all_async(
            _CLAIM, queue=queue.LOCAL, abilities=list(self._abilities()), worker_id=worker_id
        )
        return Job.from_row(rows[0]) if rows else None
