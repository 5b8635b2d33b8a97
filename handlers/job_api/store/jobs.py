"""Life of a job in the database: one statement for each change, with a condition on the old state.

A worker runs a job under the queue's id of this run. A job passed to another worker gets a new id,
so later writes of the first worker, believed dead, change nothing. Only the database knows whether
a job is still a worker's own. So a worker repeats its writes for as long as the database is away.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from handlers.job_api.errors import IdempotencyConflict, QueueFull, TooManyJobs
from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, query, retry_on_disconnect
from handlers.job_api.store.needs import list_needs
from handlers.job_api.store.notifications import CANCELLED
from handlers.job_api.store.places import PLACE
from handlers.job_api.store.texts import to_jsonb

if TYPE_CHECKING:
    from procrastinate import App

JOB_ID = re.compile(r"[0-9a-f]{32}")
FINAL = ("completed", "failed", "cancelled")
_UNFINISHED = "state IN ('queued', 'running')"
_BY_KEY = "SELECT id, request_hash FROM musicgen_jobs WHERE owner = %s AND idempotency_key = %s"
OF_THIS_RUN = "id = %s AND queue_id = %s AND state = 'running'"


@dataclass(frozen=True)
class NewJob:
    """Job to submit, under a new id.

    `request`: validated fields. `request_hash`: of the body as sent; it tells a repeated call from
    a different request with the same idempotency key. `fetches`: its sound is at a web address.
    """

    owner: str
    request: Mapping[str, Any]
    request_hash: str
    audio_seconds: float
    priority: int = 0
    idempotency_key: str | None = None
    webhook_url: str | None = None
    trace: str | None = None
    fetches: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(16))


@dataclass(frozen=True)
class JobLimits:
    """Limits of jobs: `queue_max` waiting in total, `jobs_per_key` unfinished of one caller."""

    queue_max: int
    jobs_per_key: int


@dataclass(frozen=True)
class WorkerRun:
    """One run of a job by a worker.

    `waited`: seconds from the submission to this run. `fetched`: the upload with the sound of the
    web address in `request`.
    """

    id: str
    queue_id: int
    attempt: int
    owner: str
    request: dict[str, Any]
    audio_seconds: float
    trace: str | None
    waited: float
    fetched: str | None = None
    needs: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Name for the files of this run, different from all other runs."""
        return build_run_name(self.id, self.queue_id)


def build_run_name(job_id: str, queue_id: int) -> str:
    """Return the name of a run, for its files."""
    return f"{job_id}-{queue_id}"


async def submit(pool: Pool, app: App, job: NewJob, limits: JobLimits, to: str) -> str:
    """Put a job into the queue `to` and return its id.

    An existing job with the same idempotency key is returned instead.

    Raises: `IdempotencyConflict` if that job has a different request, `TooManyJobs`, `QueueFull`.
    """
    return await retry_on_disconnect(lambda: _submit(pool, app, job, limits, to))


async def find_repeated(pool: Pool, owner: str, key: str | None, request_hash: str) -> str | None:
    """Return the id of the job that an idempotency key stands for, or None.

    Raises: `IdempotencyConflict` if that job has a different request.
    """
    if key is None:
        return None
    rows = await query(pool, _BY_KEY, owner, key)
    if rows and rows[0]["request_hash"] != request_hash:
        raise IdempotencyConflict(key)
    return str(rows[0]["id"]) if rows else None


async def _submit(pool: Pool, app: App, job: NewJob, limits: JobLimits, to: str) -> str:
    job_id = job.id
    async with pool.connection() as connection, connection.transaction():
        # The job exists if the first attempt was committed and only its reply was lost.
        cursor = await connection.execute("SELECT FROM musicgen_jobs WHERE id = %s", [job_id])
        if await cursor.fetchone() is not None:
            return job_id
        # One submission of an owner at a time: the counts below stay true until the commit.
        await queue.lock_owner(connection, job.owner)
        if job.idempotency_key is not None:
            cursor = await connection.execute(_BY_KEY.encode(), [job.owner, job.idempotency_key])
            if (existing := await cursor.fetchone()) is not None:
                if existing["request_hash"] != job.request_hash:
                    raise IdempotencyConflict(job.idempotency_key)
                return str(existing["id"])
        cursor = await connection.execute(
            "SELECT count(*) FILTER (WHERE owner = %s) AS own, "
            "count(*) FILTER (WHERE state = 'queued') AS queued "
            f"FROM musicgen_jobs WHERE {_UNFINISHED}",
            [job.owner],
        )
        counts = await cursor.fetchone()
        assert counts is not None, "a count has a row"
        if counts["own"] >= limits.jobs_per_key:
            raise TooManyJobs(limits.jobs_per_key)
        if counts["queued"] >= limits.queue_max:
            raise QueueFull(limits.queue_max)
        fetches = job.fetches and to == queue.LOCAL
        if fetches:
            queue_id = await queue.put_fetch(app, connection, job_id, job.owner)
        else:
            queue_id = await queue.put(
                app, connection, queue.GENERATE, to, priority=job.priority, job_id=job_id
            )
        await connection.execute(
            "INSERT INTO musicgen_jobs (id, owner, request, request_hash, idempotency_key, "
            "priority, webhook_url, trace, queue, queue_id, audio_seconds, fetches, needs) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                *(job_id, job.owner, Jsonb(dict(job.request)), job.request_hash),
                *(job.idempotency_key, job.priority, job.webhook_url, job.trace),
                *(to, queue_id, job.audio_seconds, fetches, list_needs(job.request)),
            ],
        )
    return job_id


async def begin(pool: Pool, job_id: str, queue_id: int, worker: str) -> WorkerRun | None:
    """Start a run of a job, or return None if the job is finished or has another run by now."""
    rows = await query(
        pool,
        "UPDATE musicgen_jobs SET state = 'running', attempt = attempt + 1, maker = %s, "
        "progress = 0, streams = false, started_at = now(), unable_since = NULL "
        f"WHERE id = %s AND queue_id = %s AND {_UNFINISHED} "
        "RETURNING attempt, owner, request, audio_seconds, trace, fetched, needs, "
        "extract(epoch FROM now() - created_at)::float AS waited",
        *(worker, job_id, queue_id),
        seconds=math.inf,
    )
    return WorkerRun(job_id, queue_id, **rows[0]) if rows else None


async def advance(pool: Pool, run: WorkerRun, progress: float, *, streams: bool) -> bool:
    """Store the progress of a run.

    Returns False if the job was cancelled or passed to another run. `streams`: live audio is
    available from now on.
    """
    rows = await query(
        pool,
        "UPDATE musicgen_jobs SET progress = greatest(progress, %s), "
        "streams = streams OR %s "
        f"WHERE {OF_THIS_RUN} RETURNING id",
        *(progress, streams, run.id, run.queue_id),
    )
    return bool(rows)


async def announce_live(pool: Pool, run: WorkerRun, segments: Sequence[int]) -> None:
    """Store the number of live segments of each clip, so that callers can hear them."""
    await query(
        pool,
        f"UPDATE musicgen_jobs SET streams = true, live_segments = %s WHERE {OF_THIS_RUN}",
        *(list(segments), run.id, run.queue_id),
    )


async def withdraw_live(pool: Pool, run: WorkerRun) -> None:
    """Store that a run has no live audio any more."""
    await query(
        pool,
        f"UPDATE musicgen_jobs SET streams = false WHERE {OF_THIS_RUN}",
        *(run.id, run.queue_id),
    )


async def complete(pool: Pool, run: WorkerRun, result: Mapping[str, Any]) -> bool:
    """Complete a job, and return whether it was still this run's."""
    return await _end(pool, run, "completed", "result", result)


async def fail(pool: Pool, run: WorkerRun, error: Mapping[str, Any]) -> bool:
    """Fail a job, and return whether it was still this run's."""
    return await _end(pool, run, "failed", "error", error)


async def _end(
    pool: Pool, run: WorkerRun, state: str, column: str, value: Mapping[str, Any]
) -> bool:
    # A repeated statement finds the state it has set itself: its first reply was lost.
    rows = await query(
        pool,
        f"UPDATE musicgen_jobs SET state = %s, {column} = %s, progress = 1, "
        "finished_at = coalesce(finished_at, now()) "
        "WHERE id = %s AND queue_id = %s AND state IN ('running', %s) RETURNING id",
        *(state, to_jsonb(value), run.id, run.queue_id, state),
        seconds=math.inf,
    )
    return bool(rows)


async def cancel(pool: Pool, owner: str, job_id: str) -> None:
    """Cancel an unfinished job. A running one stops at its next step."""
    await query(
        pool,
        "UPDATE musicgen_jobs SET state = 'cancelled', finished_at = now() "
        f"WHERE id = %s AND owner = %s AND {_UNFINISHED} RETURNING pg_notify(%s, id)",
        *(job_id if JOB_ID.fullmatch(job_id) else "", owner, CANCELLED),
    )


async def get(pool: Pool, job_id: str, owner: str | None = None) -> dict[str, Any] | None:
    """Return the row of a job, or None if there is none. With `owner`, only a job of this owner.

    `elapsed` in it: seconds since its start, by the clock that recorded the start.
    """
    if not JOB_ID.fullmatch(job_id):
        return None
    rows = await query(
        pool,
        f"SELECT *, CASE WHEN j.state = 'queued' THEN {PLACE} END AS position, "
        "extract(epoch FROM now() - j.started_at)::float AS elapsed "
        "FROM musicgen_jobs j WHERE id = %s AND (%s::text IS NULL OR owner = %s)",
        *(job_id, owner, owner),
    )
    return rows[0] if rows else None
