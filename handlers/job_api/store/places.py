"""Places in the queue, in the order of fair claims (`musicgen_claim` in `0090_fair_claims`).

A place is the number of claims up to that of the job if no running job ended first and no other
job came. Each claim gives its owner one more running job. So the jobs of an owner, in their order,
have the levels n, n + 1, ... from its n running jobs on, and the lowest level comes first. At one
level the owner with more running jobs comes first, because its last turn is longer ago than the
turns of owners that had a job at the level below.
"""

from __future__ import annotations

from handlers.job_api.store.database import Pool, query

# `j` is the job: queue, owner, priority, and queue_id, which is null for a job not yet submitted.
# `start`: level of an owner's first waiting job of this priority. `head`: that job.
PLACE = """(
    WITH waiting AS (
        SELECT o.owner, count(*) FILTER (WHERE o.priority > j.priority) AS urgent,
            count(*) FILTER (WHERE o.priority = j.priority) AS equal,
            count(*) FILTER (WHERE o.priority = j.priority
                AND (j.queue_id IS NULL OR o.queue_id < j.queue_id)) AS older,
            min(o.queue_id) FILTER (WHERE o.priority = j.priority) AS head
        FROM musicgen_jobs o
        WHERE o.state = 'queued' AND NOT o.fetches AND o.queue = j.queue
            AND o.priority >= j.priority
        GROUP BY o.owner
    ), running AS (
        SELECT o.owner, count(*) AS number
        FROM procrastinate_jobs p JOIN musicgen_jobs o ON o.id = p.args ->> 'job_id'
        WHERE p.status = 'doing' AND p.worker_id IS NOT NULL AND p.queue_name = j.queue
            AND o.state <> 'queued'
        GROUP BY o.owner
    ), owners AS (
        SELECT w.owner, w.urgent, w.equal, w.older, w.head,
            w.urgent + coalesce(r.number, 0) AS start, coalesce(t.turn, 0) AS turn
        FROM (SELECT * FROM waiting UNION ALL SELECT j.owner, 0, 0, 0, NULL
            WHERE j.owner NOT IN (SELECT owner FROM waiting)) w
        LEFT JOIN running r ON r.owner = w.owner
        LEFT JOIN musicgen_turns t
            ON t.queue = j.queue AND t.priority = j.priority AND t.owner = w.owner
    )
    SELECT (1 + own.older + sum(o.urgent + CASE WHEN o.owner = own.owner THEN 0 ELSE
        least(o.equal, greatest(0, own.start + own.older - o.start + CASE
            WHEN (-o.start, o.turn, o.head) < (-own.start, own.turn,
                coalesce(least(own.head, j.queue_id), 9223372036854775807))
            THEN 1 ELSE 0 END)) END))::integer
    FROM owners o, owners own WHERE own.owner = j.owner
    GROUP BY own.owner, own.older, own.start, own.turn, own.head
)"""
_NEW_PLACE = f"""
    SELECT {PLACE} AS place FROM (SELECT %s::text AS queue, %s::text AS owner,
        %s::integer AS priority, NULL::bigint AS queue_id) j
"""


async def find_new_place(pool: Pool, queue: str, owner: str, priority: int = 0) -> int:
    """Return the place in `queue` that a job of `owner` would have if it were submitted now."""
    rows = await query(pool, _NEW_PLACE, queue, owner, priority)
    return int(rows[0]["place"])
