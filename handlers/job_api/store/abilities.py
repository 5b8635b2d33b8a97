"""Abilities of the workers against the needs of a job: refuse, wait, or fail it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from psycopg.types.json import Jsonb

from handlers.job_api.errors import build_failure
from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.models import AvailableModels, find_available_models
from handlers.job_api.store.needs import DECODER, PARTS, find_model, name_need
from handlers.job_api.store.queue_load import ALIVE_SECONDS
from musicgen.errors import InvalidRequest, ModelUnavailable, PartUnavailable
from musicgen.errors.counts import format_count

PATIENCE_SECONDS = 600.0
"""Longest wait of a job for a worker that can make it, while others run: a machine may be replaced
meanwhile. Without any worker jobs wait for one."""
_MARK = """
    WITH alive AS (
        SELECT abilities FROM musicgen_workers
        WHERE makes = %s AND seen_at > now() - make_interval(secs => %s)
    ), waiting AS (
        SELECT j.id, EXISTS (SELECT FROM alive) AND NOT EXISTS (SELECT FROM alive a
            WHERE a.abilities IS NULL OR j.needs <@ a.abilities) AS is_unable
        FROM musicgen_jobs j
        WHERE j.state = 'queued' AND j.queue = %s AND j.needs <> '{}'
    )
    UPDATE musicgen_jobs j SET unable_since = CASE WHEN w.is_unable THEN now() END
    FROM waiting w WHERE w.id = j.id AND j.state = 'queued'
        AND w.is_unable <> (j.unable_since IS NOT NULL)
    RETURNING j.id, w.is_unable
"""
_EXPIRED = """
    SELECT id, needs FROM musicgen_jobs
    WHERE state = 'queued' AND unable_since < now() - make_interval(secs => %s)
"""
_FAIL = """
    WITH failed AS (
        UPDATE musicgen_jobs SET state = 'failed', error = %s, progress = 1, fetches = false,
            finished_at = now()
        WHERE id = %s AND state = 'queued' AND unable_since < now() - make_interval(secs => %s)
        RETURNING queue_id
    )
    UPDATE procrastinate_jobs SET status = 'cancelled'
    WHERE status = 'todo' AND id IN (SELECT queue_id FROM failed)
"""

logger = logging.getLogger(__name__)


def check_needs(needs: Sequence[str], available: AvailableModels) -> None:
    """Refuse a job that no living worker can make.

    Raises: `PartUnavailable`, `ModelUnavailable`.
    """
    model = find_model(needs)
    if model is not None and available.is_missing(model):
        raise ModelUnavailable("model_version", model, available.names - available.missing)
    for field, advice in available.missing_parts.items():
        if name_need(field) in needs:
            raise PartUnavailable(field, advice)
    parts = [field for field in (*PARTS, DECODER) if name_need(field) in needs]
    if parts and not available.can_make(needs):
        others = [need for need in needs if need != name_need(parts[0])]
        together = ", ".join(need.replace(":", " ") for need in others)
        advice = f"No worker here can make it together with {together}. Send jobs of their own."
        raise PartUnavailable(parts[0], advice)


async def fail_unable(pool: Pool, patience: float = PATIENCE_SECONDS) -> list[str]:
    """Fail the jobs that no living worker could make for `patience` seconds, and return their ids.

    Any process may run it, also several at once. A job whose workers come back starts anew.
    """
    marked = await query(pool, _MARK, queue.LOCAL, ALIVE_SECONDS, queue.LOCAL)
    for row in marked:
        if row["is_unable"]:
            logger.warning("No living worker can make job %s; it waits for one.", row["id"])
    expired = await query(pool, _EXPIRED, patience)
    if not expired:
        return []
    available = await find_available_models(pool, "")
    for row in expired:
        failure = build_failure(_explain(row["needs"], available, patience))
        await query(pool, _FAIL, Jsonb(failure), row["id"], patience)
        logger.warning("Job %s failed: no worker that can make it came back.", row["id"])
    return [row["id"] for row in expired]


def _explain(needs: Sequence[str], available: AvailableModels, patience: float) -> InvalidRequest:
    """Return the error of a job that no living worker can make."""
    waited = f"No worker that could make it ran for {format_count(patience / 60, 'minute')}."
    try:
        check_needs(needs, available)
    except PartUnavailable as error:
        return PartUnavailable(error.field, f"{error.advice} {waited}")
    except ModelUnavailable as error:
        return error
    model = find_model(needs) or available.default
    return ModelUnavailable("model_version", model, available.names - available.missing)
