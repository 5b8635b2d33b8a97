"""Repair of stored times after the database's clock was set back.

All times that processes wait for are compared with the database's clock. Set back by an hour (a
step of NTP, a machine resumed from a snapshot), it would make a dead worker look alive and a
delivery wait for up to an hour. The last round of recovery then lies in the future, by which the
step is known.
"""

from __future__ import annotations

import logging

from handlers.job_api.store.database import Connection

TOLERANCE_SECONDS = 30.0
"""Smaller steps change nothing: each wait is that much longer, once. Longer than any lease, so
leases taken after a step stay."""
_STEP = """
    SELECT extract(epoch FROM round_at - now())::float AS seconds FROM musicgen_recovery
    WHERE round_at > now() + make_interval(secs => %s)
"""
# A heartbeat becomes one of now: the living send the next one, and the dead are found in time.
_SILENCE = (
    "UPDATE musicgen_workers SET seen_at = now() WHERE seen_at > now()",
    "UPDATE procrastinate_workers SET last_heartbeat = now() WHERE last_heartbeat > now()",
    "UPDATE musicgen_jobs SET unable_since = now() WHERE unable_since > now()",
)
# Each wait keeps its length, so these move by the step.
_WAITS = (
    "UPDATE musicgen_recovery SET trusts_from = trusts_from - {step} WHERE trusts_from > now()",
    "UPDATE musicgen_jobs SET webhook_at = webhook_at - {step} "
    "WHERE NOT webhook_over AND webhook_at > now() + {tolerance}",
    "UPDATE procrastinate_jobs SET scheduled_at = scheduled_at - {step} "
    "WHERE status = 'todo' AND scheduled_at > now() + {tolerance}",
    "UPDATE musicgen_deletions SET due_at = due_at - {step} "
    "WHERE NOT is_done AND due_at > now() + {tolerance}",
    "UPDATE musicgen_jobs SET started_at = started_at - {step} "
    "WHERE state = 'running' AND started_at > now() + {tolerance}",
)
# What was made before the step stays older than what came after it: histories are sorted by these.
# The step is measured from the last round of recovery, so it is too small by some seconds.
_HISTORY = (
    "UPDATE musicgen_jobs SET finished_at = greatest(created_at, finished_at - {past}), "
    "started_at = least(started_at, greatest(created_at, finished_at - {past})) "
    "WHERE finished_at > now() AND created_at <= now()",
    "UPDATE musicgen_jobs SET created_at = created_at - {past}, "
    "finished_at = finished_at - {past}, "
    "started_at = CASE state WHEN 'running' THEN started_at ELSE started_at - {past} END "
    "WHERE created_at > now()",
    "UPDATE musicgen_uploads SET created_at = created_at - {past} WHERE created_at > now()",
    "UPDATE musicgen_keys SET created_at = created_at - {past} WHERE created_at > now()",
)

logger = logging.getLogger(__name__)


async def repair_times(connection: Connection) -> float:
    """Move stored times back by the step of a clock that was set back, and return its seconds.

    Returns 0 for steps up to `TOLERANCE_SECONDS`. Runs within the transaction of a round of
    recovery, before that round is recorded.
    """
    cursor = await connection.execute(_STEP.encode(), [TOLERANCE_SECONDS])
    row = await cursor.fetchone()
    if row is None:
        return 0.0
    seconds: float = row["seconds"]
    logger.warning("The database's clock was set back: repairing times. seconds=%.0f", seconds)
    tolerance = TOLERANCE_SECONDS
    spans = {"step": seconds, "tolerance": tolerance, "past": seconds + tolerance}
    intervals = {name: f"make_interval(secs => {span})" for name, span in spans.items()}
    for statement in (*_SILENCE, *(move.format(**intervals) for move in (*_WAITS, *_HISTORY))):
        await connection.execute(statement.encode())
    return seconds
