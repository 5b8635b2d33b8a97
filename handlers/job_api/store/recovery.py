"""Recovery of jobs of lost workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from handlers.job_api.store import queue
from handlers.job_api.store.clock import repair_times
from handlers.job_api.store.database import Connection, Pool, query
from handlers.job_api.store.life_lock import find_dead_workers, forget_workers
from handlers.job_api.store.needs import PARTS
from handlers.job_api.store.queue_load import ALIVE_SECONDS
from musicgen.errors.counts import format_count

if TYPE_CHECKING:
    from procrastinate import App

_LOCK = 7_062_030_911
_ATTEMPTS_EXHAUSTED = "attempts_exhausted"
_ORPHANS = """
    SELECT j.id, j.attempt, j.queue, j.queue_id, j.priority, p.status
    FROM musicgen_jobs j
    LEFT JOIN procrastinate_jobs p ON p.id = j.queue_id
    LEFT JOIN procrastinate_workers w ON w.id = p.worker_id
    WHERE j.state IN ('queued', 'running') AND (
        p.id IS NULL OR p.status NOT IN ('todo', 'doing') OR (p.status = 'doing' AND %s AND
            coalesce(w.last_heartbeat < now() - make_interval(secs => %s), true) AND
            NOT EXISTS (SELECT 1 FROM musicgen_workers o WHERE j.state = 'running'
                AND o.name = j.maker AND o.seen_at > now() - make_interval(secs => %s))))
    FOR UPDATE OF j SKIP LOCKED
"""
# `_ORPHANS` reads both heartbeats: procrastinate's ends at the stop signal, while the row of
# musicgen_workers is kept up to date until the worker's last job has finished.
_ROUND = """
    INSERT INTO musicgen_recovery (round_at, trusts_from) VALUES (now(), now())
    ON CONFLICT (one) DO UPDATE SET round_at = now(), trusts_from = CASE
        WHEN musicgen_recovery.round_at < now() - make_interval(secs => %s / 2.0)
        THEN now() + make_interval(secs => %s) ELSE musicgen_recovery.trusts_from END
    RETURNING trusts_from <= now() AS trusts_silence
"""
_STRANDED = """
    SELECT j.id, j.attempt, j.queue, j.queue_id, j.priority, 'todo' AS status
    FROM musicgen_jobs j
    WHERE j.state = 'queued' AND j.queue <> %s
        AND j.created_at < now() - make_interval(secs => %s)
        AND NOT EXISTS (SELECT 1 FROM musicgen_workers w
            WHERE w.makes = j.queue AND w.seen_at > now() - make_interval(secs => %s)
                AND (w.abilities IS NULL OR j.needs <@ w.abilities OR j.needs && %s::text[]))
    FOR UPDATE OF j SKIP LOCKED
"""
# Jobs with parts stay with local workers while there are any: no platform makes parts.
# Programs without the fetch stage run beside this one during an upgrade.
_UNFETCHED = """
    SELECT j.id, j.attempt, j.queue, j.queue_id, j.priority, 'todo' AS status
    FROM musicgen_jobs j JOIN procrastinate_jobs p ON p.id = j.queue_id AND p.status = 'todo'
    WHERE j.state = 'queued' AND j.fetches
        AND (SELECT bool_and(NOT w.fetches) FROM musicgen_workers w
            WHERE w.makes = j.queue AND w.seen_at > now() - make_interval(secs => %s))
    FOR UPDATE OF j SKIP LOCKED
"""
_RELEASE_ORPHAN = (
    "UPDATE procrastinate_jobs SET status = 'failed' WHERE id = %s AND status = 'doing'"
)
# The lock of such a fetch would keep its owner's other fetches waiting.
_RELEASE_FETCHES = """
    UPDATE procrastinate_jobs p SET status = 'failed'
    WHERE p.status = 'doing' AND p.queue_name = %s AND NOT EXISTS (
        SELECT 1 FROM procrastinate_workers w
        WHERE w.id = p.worker_id AND w.last_heartbeat > now() - make_interval(secs => %s))
"""
_RELEASE = """
    WITH gone AS (DELETE FROM musicgen_workers WHERE name = ANY(%s))
    UPDATE procrastinate_jobs SET status = 'failed' WHERE status = 'doing' AND id IN (
        SELECT queue_id FROM musicgen_jobs WHERE (state = 'running' OR fetches)
            AND maker = ANY(%s))
"""
_RUNS = "SELECT queue_id FROM musicgen_jobs WHERE state = 'running' AND maker = %s"
_RELEASE_RUNS = """
    UPDATE procrastinate_jobs SET status = 'failed' WHERE status = 'doing' AND id IN (
        SELECT queue_id FROM musicgen_jobs
        WHERE state = 'running' AND maker = %s AND queue_id = ANY(%s))
    RETURNING id
"""

_GONE_SECONDS = 600
_DELETE_GONE = (
    "DELETE FROM musicgen_workers WHERE seen_at < now() - make_interval(secs => %s)",
    "DELETE FROM procrastinate_workers WHERE last_heartbeat < now() - make_interval(secs => %s)",
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecoveryCounts:
    """Numbers of recovered jobs: `requeued`, and `failed` without an attempt left."""

    requeued: int
    failed: int


async def recover(
    pool: Pool, app: App, worker_timeout: float, attempts: int, to: str | None = None
) -> RecoveryCounts:
    """Queue the jobs of lost workers again, or fail them after `attempts` runs.

    A worker is lost after `worker_timeout` seconds without a heartbeat, or if it stopped before
    the end of a job. A recovered job gets a new run; writes of the old one are ignored. `to`: the
    queue for recovered jobs, None for their own. With `to`, waiting jobs of a queue without any
    worker are moved too. Does nothing while another process recovers. After a time without
    rounds no worker counts as silent for `worker_timeout` seconds: the database was away for the
    workers, too, or its clock was set forward. Rows of workers that are long gone are deleted.
    """
    requeued = failed = 0
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s) AS mine", [_LOCK])
        row = await cursor.fetchone()
        if row is None or not row["mine"]:
            return RecoveryCounts(0, 0)
        await repair_times(connection)
        cursor = await connection.execute(_ROUND.encode(), [worker_timeout] * 2)
        state = await cursor.fetchone()
        assert state is not None, "the statement returns its row"
        trusts_silence = state["trusts_silence"]
        for orphan in await _find_orphans(connection, worker_timeout, to, trusts_silence):
            if orphan["attempt"] >= attempts:
                await _fail(connection, orphan)
                failed += 1
            else:
                await _requeue(connection, app, orphan, to or orphan["queue"])
                requeued += 1
            if orphan["status"] == "doing":
                # procrastinate's own function would raise if the lost worker came back first.
                await connection.execute(_RELEASE_ORPHAN.encode(), [orphan["queue_id"]])
        if trusts_silence:
            await connection.execute(_RELEASE_FETCHES.encode(), [queue.FETCH, worker_timeout])
            for statement in _DELETE_GONE:
                gone = max(_GONE_SECONDS, 2 * worker_timeout)
                await connection.execute(statement.encode(), [gone])
    if requeued or failed:
        logger.warning("Recovered jobs of lost workers: requeued=%d failed=%d", requeued, failed)
    return RecoveryCounts(requeued, failed)


async def _find_orphans(
    connection: Connection, worker_timeout: float, to: str | None, trusts_silence: bool
) -> list[dict[str, Any]]:
    """Return the jobs that no worker will end, locked until the transaction ends."""
    values = [trusts_silence, worker_timeout, worker_timeout]
    cursor = await connection.execute(_ORPHANS.encode(), values)
    orphans = await cursor.fetchall()
    cursor = await connection.execute(_UNFETCHED, [ALIVE_SECONDS])
    orphans += await cursor.fetchall()
    if to is not None:
        stranded = [to, worker_timeout, ALIVE_SECONDS, list(PARTS)]
        cursor = await connection.execute(_STRANDED.encode(), stranded)
        orphans += await cursor.fetchall()
    return orphans


async def _fail(connection: Connection, orphan: Mapping[str, Any]) -> None:
    await connection.execute(
        "UPDATE musicgen_jobs SET state = 'failed', finished_at = now(), error = %s WHERE id = %s",
        [Jsonb(_build_failure(orphan["attempt"])), orphan["id"]],
    )


async def _requeue(connection: Connection, app: App, orphan: Mapping[str, Any], to: str) -> None:
    """Put a job into the queue `to`, where the executor fetches a sound not fetched yet."""
    queue_id = await queue.put(
        *(app, connection, queue.GENERATE, to),
        priority=orphan["priority"],
        job_id=orphan["id"],
    )
    await connection.execute(
        "UPDATE musicgen_jobs SET state = 'queued', queue = %s, queue_id = %s, "
        "streams = false, fetches = false WHERE id = %s",
        [to, queue_id, orphan["id"]],
    )


async def release_dead_workers(pool: Pool, data_dir: Path) -> None:
    """Free the jobs of workers that died on this machine, for `recover`, before their timeout."""
    names = await asyncio.to_thread(find_dead_workers, data_dir)
    if not names:
        return
    logger.warning("Workers on this machine have died: %s", ", ".join(names))
    await query(pool, _RELEASE, names, names)
    await asyncio.to_thread(forget_workers, data_dir, names)


async def release_ended_runs(
    pool: Pool, worker: str, list_runs: Callable[[], Collection[int]]
) -> None:
    """Free the jobs that a living worker has ended and the database has running, for `recover`.

    A database that fails over to a replica may lose the last commits, such as the end of a run.
    The job would be running for as long as its worker lives. `list_runs`: returns the ids of the
    runs at work.
    """
    rows = await query(pool, _RUNS, worker)
    # In this order: a run that began since is not among the rows, and none ends unrecorded.
    ended = {row["queue_id"] for row in rows} - {*list_runs()}
    if ended and await query(pool, _RELEASE_RUNS, worker, list(ended)):
        logger.warning("The database has lost the end of a run: worker=%s", worker)


def _build_failure(attempts: int) -> dict[str, str]:
    return {
        "code": _ATTEMPTS_EXHAUSTED,
        "message": f"The job failed after {format_count(attempts, 'attempt')} because the worker "
        "crashed each time. A shorter clip may succeed.",
    }
