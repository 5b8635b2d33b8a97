"""Load of the queue: its workers, its work, and the estimates that follow from them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.paces import Paces, build_paces

ALIVE_SECONDS = 20.0
"""A worker counts as alive for this time after its last heartbeat."""
_CACHE_SECONDS = 1.0


@dataclass(frozen=True)
class WorkerLoad:
    """Living worker of local jobs. `abilities`: None for any job. `running`: its jobs now."""

    slots: int
    running: int
    abilities: frozenset[str] | None = None

    def can_make(self, needs: Sequence[str]) -> bool:
        """Return whether this worker takes jobs with these needs."""
        return self.abilities is None or self.abilities.issuperset(needs)


@dataclass(frozen=True)
class WaitingWork:
    """Unfinished local jobs with the same needs.

    `queued`: number of those that wait for a slot. `audio`: seconds of audio of the jobs. `left`:
    seconds of audio still to make; parts are made after all of it.
    """

    needs: tuple[str, ...]
    queued: int
    audio: float
    left: float


@dataclass(frozen=True)
class QueueLoad:
    """Load of the queue.

    `slots`: jobs that the workers can run at once. `queued`: jobs that wait for a slot, or for any
    worker, but not those whose sound a worker fetches. `waiting`: seconds of audio still to make.
    """

    workers: int
    slots: int
    queued: int
    running: int
    waiting: float
    paces: Paces = field(default_factory=Paces)
    makers: tuple[WorkerLoad, ...] = ()
    works: tuple[WaitingWork, ...] = ()

    @property
    def wait_seconds(self) -> float | None:
        """Seconds until a job submitted now would start; None without a worker."""
        return self.estimate_wait(())

    @property
    def next_end_seconds(self) -> float | None:
        """Average seconds until the next job finishes; None without jobs or workers."""
        jobs = self.queued + self.running
        return self._sum_work(self.works) / jobs / self.slots if jobs and self.slots else None

    def estimate_wait(self, needs: Sequence[str], place: int | None = None) -> float | None:
        """Return the seconds until a job with these needs would start; None without a worker.

        `place`: its place in the queue of local jobs; None for the last one.
        """
        free = [m for m in self.makers if m.can_make(needs) and m.running < m.slots]
        queued = [work.needs for work in self.works if work.queued]
        if any(not any(maker.can_make(other) for other in queued) for maker in free):
            return 0.0
        backlog = self.estimate_backlog(needs)
        if backlog is None or place is None:
            return backlog
        return backlog * self.find_share(place, more=1)

    def estimate_backlog(self, needs: Sequence[str], *, without: float = 0.0) -> float | None:
        """Return the seconds of all work before a job with these needs; None without a worker.

        `without`: seconds of work that do not count, such as the job's own.
        """
        able = [maker for maker in self.makers if maker.can_make(needs)]
        slots = sum(maker.slots for maker in able)
        if not slots:
            return None
        others = [maker for maker in self.makers if not maker.can_make(needs)]
        # Workers that lack something share the rest of the work; none helps with the jobs that
        # only these can make.
        own = [w for w in self.works if not any(maker.can_make(w.needs) for maker in others)]
        shared = self._sum_work(self.works) - without
        total = sum(maker.slots for maker in self.makers)
        return max(0.0, shared / total, (self._sum_work(own) - without) / slots)

    def find_share(self, place: int | None, *, more: int = 0) -> float:
        """Return the part of the backlog before a place in the queue of local jobs.

        `place`: None for the last one. `more`: number of jobs in the queue that are not in this
        load.
        """
        queued = sum(work.queued for work in self.works) + more
        return min(1.0, (place or queued) / max(1, queued))

    def _sum_work(self, works: Sequence[WaitingWork]) -> float:
        paces = self.paces
        return sum(
            paces.find_music_pace(w.needs) * w.left + paces.find_parts_pace(w.needs) * w.audio
            for w in works
        )


class QueueLoadMeter:
    """Reader of the queue's load, with a cache of a second: many calls cost one query."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._load: QueueLoad | None = None
        self._valid_until = 0.0
        self._read_at = -math.inf
        self._reading = asyncio.Lock()

    @property
    def silence_seconds(self) -> float:
        """Seconds since the last answer of the database; infinite before the first."""
        return time.monotonic() - self._read_at

    async def read(self) -> QueueLoad:
        """Return the load, at most a second old."""
        # One query for all calls that wait for it.
        async with self._reading:
            if self._load is None or time.monotonic() > self._valid_until:
                self._load = await _read_load(self._pool)
                self._read_at = time.monotonic()
                self._valid_until = self._read_at + _CACHE_SECONDS
            return self._load


async def _read_load(pool: Pool) -> QueueLoad:
    row = (await query(pool, _LOAD, ALIVE_SECONDS, queue.LOCAL, queue.LOCAL))[0]
    makers = tuple(
        WorkerLoad(
            each["slots"],
            each["running"],
            None if each["abilities"] is None else frozenset(each["abilities"]),
        )
        for each in row.pop("makers")
    )
    works = tuple(
        WaitingWork(tuple(each["needs"]), each["queued"], each["audio"], each["left_audio"])
        for each in row.pop("works")
    )
    return QueueLoad(**row | {"paces": build_paces(row["paces"])}, makers=makers, works=works)


_LOAD = """
    WITH alive AS (
        SELECT w.slots, w.abilities, (SELECT count(*) FROM musicgen_jobs j
            WHERE j.state = 'running' AND j.maker = w.name) AS running
        FROM musicgen_workers w
        WHERE w.seen_at > now() - make_interval(secs => %s) AND w.makes = %s
    ), unfinished AS (
        SELECT *, state = 'queued' AND (NOT fetches OR NOT EXISTS (SELECT FROM alive)) AS waits
        FROM musicgen_jobs WHERE state IN ('queued', 'running')
    ), works AS (
        SELECT needs, count(*) FILTER (WHERE waits) AS queued,
            sum(audio_seconds)::float AS audio, sum(audio_seconds * (1 - progress))::float
                AS left_audio
        FROM unfinished WHERE queue = %s AND NOT fetches GROUP BY needs
    )
    SELECT (SELECT count(*) FROM alive) AS workers,
        (SELECT coalesce(sum(slots), 0)::int FROM alive) AS slots,
        (SELECT coalesce(jsonb_agg(to_jsonb(a)), '[]') FROM alive a) AS makers,
        (SELECT coalesce(jsonb_agg(to_jsonb(w)), '[]') FROM works w) AS works,
        (SELECT coalesce(jsonb_agg(to_jsonb(p)), '[]') FROM musicgen_paces p) AS paces,
        count(*) FILTER (WHERE waits) AS queued,
        count(*) FILTER (WHERE state = 'running') AS running,
        coalesce(sum(audio_seconds * (1 - progress)) FILTER (WHERE NOT fetches), 0)::float
            AS waiting
    FROM unfinished
"""
