"""A job's life in the database: every change is one statement that says from which state it goes.

Whoever runs a job does so under the queue's id of this run. A job that is given to another worker
has another one from then on, so what a worker says that was thought dead changes nothing.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from handlers.job_api.errors import DuplicateKey, QueueFull, TooManyJobs
from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, patiently, query

if TYPE_CHECKING:
    from procrastinate import App

JOB_ID = re.compile(r"[0-9a-f]{32}")
FINAL = ("completed", "failed", "cancelled")
_UNFINISHED = "state IN ('queued', 'running')"
_MINE = "id = %s AND queue_id = %s AND state = 'running'"


@dataclass(frozen=True)
class NewJob:
    """`request`: what the caller sent, checked. `request_hash` tells two of them apart."""

    owner: str
    request: Mapping[str, Any]
    request_hash: str
    audio_seconds: float
    priority: int = 0
    idempotency_key: str | None = None
    webhook_url: str | None = None
    trace: str | None = None


@dataclass(frozen=True)
class Limits:
    queue_max: int
    jobs_per_key: int


@dataclass(frozen=True)
class Run:
    """A job that is this worker's now. `waited`: seconds from its submission to this run."""

    id: str
    queue_id: int
    attempt: int
    owner: str
    request: dict[str, Any]
    audio_seconds: float
    trace: str | None
    waited: float

    @property
    def name(self) -> str:
        """Of its files: no two runs write to the same ones."""
        return f"{self.id}-{self.queue_id}"


async def submit(pool: Pool, app: App, job: NewJob, limits: Limits, to: str) -> str:
    """The id of a new job in the queue `to`, or of the one that has its idempotency key.

    Raises: `DuplicateKey` where that one is another request, `TooManyJobs`, `QueueFull`.
    """
    job_id = secrets.token_hex(16)
    return await patiently(lambda: _submit(pool, app, job, limits, to, job_id))


async def _submit(pool: Pool, app: App, job: NewJob, limits: Limits, to: str, job_id: str) -> str:
    async with pool.connection() as connection, connection.transaction():
        # There already, where the database went away before it could say so.
        cursor = await connection.execute("SELECT FROM musicgen_jobs WHERE id = %s", [job_id])
        if await cursor.fetchone() is not None:
            return job_id
        # One submission of a key at a time: what is counted below stays true until the end.
        lock = "SELECT pg_advisory_xact_lock(hashtext(%s))"
        await connection.execute(lock, [job.owner])
        if job.idempotency_key is not None:
            cursor = await connection.execute(
                "SELECT id, request_hash FROM musicgen_jobs "
                "WHERE owner = %s AND idempotency_key = %s",
                [job.owner, job.idempotency_key],
            )
            if (same := await cursor.fetchone()) is not None:
                if same["request_hash"] != job.request_hash:
                    raise DuplicateKey(job.idempotency_key)
                return str(same["id"])
        cursor = await connection.execute(
            "SELECT count(*) FILTER (WHERE owner = %s) AS own, "
            "count(*) FILTER (WHERE state = 'queued') AS queued "
            f"FROM musicgen_jobs WHERE {_UNFINISHED}",
            [job.owner],
        )
        waiting = await cursor.fetchone()
        assert waiting is not None, "a count has a row"
        if waiting["own"] >= limits.jobs_per_key:
            raise TooManyJobs(limits.jobs_per_key)
        if waiting["queued"] >= limits.queue_max:
            raise QueueFull(limits.queue_max)
        queue_id = await queue.put(
            app, connection, queue.GENERATE, to, priority=job.priority, job_id=job_id
        )
        await connection.execute(
            "INSERT INTO musicgen_jobs (id, owner, request, request_hash, idempotency_key, "
            "priority, webhook_url, trace, queue, queue_id, audio_seconds) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                *(job_id, job.owner, Jsonb(dict(job.request)), job.request_hash),
                *(job.idempotency_key, job.priority, job.webhook_url, job.trace),
                *(to, queue_id, job.audio_seconds),
            ],
        )
    return job_id


async def begin(pool: Pool, job_id: str, queue_id: int, maker: str) -> Run | None:
    """Takes a job for this run; None where it is another's by now, or done."""
    rows = await query(
        pool,
        "UPDATE musicgen_jobs SET state = 'running', attempt = attempt + 1, maker = %s, "
        "progress = 0, streams = false, started_at = now() "
        f"WHERE id = %s AND queue_id = %s AND {_UNFINISHED} "
        "RETURNING attempt, owner, request, audio_seconds, trace, "
        "extract(epoch FROM now() - created_at)::float AS waited",
        *(maker, job_id, queue_id),
    )
    return Run(job_id, queue_id, **rows[0]) if rows else None


async def advance(pool: Pool, run: Run, progress: float, *, streams: bool) -> bool:
    """Whether the job is still this run's: it may have been cancelled, or given to another."""
    rows = await query(
        pool,
        f"UPDATE musicgen_jobs SET progress = greatest(progress, %s), streams = %s WHERE {_MINE} "
        "RETURNING id",
        *(progress, streams, run.id, run.queue_id),
    )
    return bool(rows)


async def complete(pool: Pool, run: Run, result: Mapping[str, Any]) -> bool:
    """Whether this run's result is the job's."""
    return await _end(pool, run, "completed", "result", result)


async def fail(pool: Pool, run: Run, error: Mapping[str, Any]) -> bool:
    return await _end(pool, run, "failed", "error", error)


async def _end(pool: Pool, run: Run, state: str, column: str, value: Mapping[str, Any]) -> bool:
    # A statement whose answer was lost is sent again, and then finds what it has done.
    rows = await query(
        pool,
        f"UPDATE musicgen_jobs SET state = %s, {column} = %s, progress = 1, "
        "finished_at = coalesce(finished_at, now()) "
        "WHERE id = %s AND queue_id = %s AND state IN ('running', %s) RETURNING id",
        *(state, Jsonb(dict(value)), run.id, run.queue_id, state),
    )
    return bool(rows)


async def move(pool: Pool, app: App, run: Run, to: str, *, seconds: int = 0) -> bool:
    """Gives a job of this run to the queue `to`, to be taken in `seconds`; whether it was still
    this run's."""
    return await patiently(lambda: _move(pool, app, run, to, seconds))


async def _move(pool: Pool, app: App, run: Run, to: str, seconds: int) -> bool:
    async with pool.connection() as connection, connection.transaction():
        queue_id = await queue.put(
            app, connection, queue.GENERATE, to, seconds=seconds, job_id=run.id
        )
        cursor = await connection.execute(
            "UPDATE musicgen_jobs SET state = 'queued', queue = %s, queue_id = %s, "
            f"streams = false WHERE {_MINE} RETURNING id".encode(),
            [to, queue_id, run.id, run.queue_id],
        )
        moved = await cursor.fetchone() is not None
        if not moved:
            # Nothing of this happened: the new task goes with it.
            raise psycopg.Rollback
    return moved


async def cancel(pool: Pool, owner: str, job_id: str) -> None:
    """Ends a job that has not ended; its run finds out when it next says how far it is."""
    await query(
        pool,
        "UPDATE musicgen_jobs SET state = 'cancelled', finished_at = now() "
        f"WHERE id = %s AND owner = %s AND {_UNFINISHED}",
        *(job_id if JOB_ID.fullmatch(job_id) else "", owner),
    )


async def get(pool: Pool, job_id: str, owner: str | None = None) -> dict[str, Any] | None:
    """The row of a job; with `owner` only where it is that one's."""
    if not JOB_ID.fullmatch(job_id):
        return None
    rows = await query(
        pool,
        "SELECT *, (SELECT count(*) FROM musicgen_jobs o WHERE j.state = 'queued' "
        "AND o.state = 'queued' AND (-o.priority, o.created_at, o.id) "
        "<= (-j.priority, j.created_at, j.id)) AS position "
        "FROM musicgen_jobs j WHERE id = %s AND (%s::text IS NULL OR owner = %s)",
        *(job_id, owner, owner),
    )
    return rows[0] if rows else None


async def listed(
    pool: Pool, owner: str, limit: int, before: tuple[str, str] | None, state: str | None
) -> list[dict[str, Any]]:
    """The newest first; `before` is (created_at, id) of the last one of the page before."""
    created, last = before if before else (None, None)
    return await query(
        pool,
        "SELECT *, NULL AS position FROM musicgen_jobs WHERE owner = %s "
        "AND (%s::text IS NULL OR state = %s) "
        "AND (%s::timestamptz IS NULL OR (created_at, id) < (%s::timestamptz, %s)) "
        "ORDER BY created_at DESC, id DESC LIMIT %s",
        *(owner, state, state, created, created, last, limit),
    )
