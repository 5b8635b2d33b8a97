"""A job as its caller sees it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.files import clips_of

ALIVE_SECONDS = 20.0
PACE_DEFAULT = 1.0
"""Seconds of work for a second of audio, until there is anything to measure."""
_STATS_SECONDS = 1.0
_HIDDEN = ("address",)


@dataclass(frozen=True)
class Load:
    """What the queue has before it. `pace`: seconds of work for one of audio, of the last jobs;
    `waiting`: seconds of audio that are asked for and not yet made."""

    workers: int
    slots: int
    queued: int
    running: int
    waiting: float
    pace: float

    @property
    def wait_seconds(self) -> float | None:
        """Until a job that came now would begin; None where nobody works."""
        free = self.queued == 0 and self.running < self.slots
        if free:
            return 0.0
        return self.waiting * self.pace / self.slots if self.slots else None

    @property
    def next_end_seconds(self) -> float | None:
        """Until one more job has ended, on the average; None where nobody works."""
        jobs = self.queued + self.running
        return self.waiting / jobs * self.pace / self.slots if jobs and self.slots else None


class LoadMeter:
    """The load, looked up once a second at most, however many ask."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._load: Load | None = None
        self._until = 0.0

    async def load(self) -> Load:
        if self._load is None or time.monotonic() > self._until:
            row = (await query(self._pool, _LOAD, ALIVE_SECONDS, queue.LOCAL, PACE_DEFAULT))[0]
            self._load = Load(**row)
            self._until = time.monotonic() + _STATS_SECONDS
        return self._load


def shown(row: Mapping[str, Any], load: Load | None = None) -> dict[str, Any]:
    """The status JSON of a job's row."""
    state, job_id = row["state"], row["id"]
    extension = row["request"].get("output_format", "wav")
    is_done = state == "completed"
    urls = [audio_url(job_id, n + 1, extension) for n in range(clips_of(row["request"]))]
    return {
        "job_id": job_id,
        "status": state,
        "progress": round(float(row["progress"]), 4),
        "position": row["position"] if state == "queued" else None,
        "expected_seconds": _expected(row, load) if load else None,
        "created_at": _moment(row["created_at"]),
        "started_at": _moment(row["started_at"]),
        "finished_at": _moment(row["finished_at"]),
        "audio_url": urls[0] if is_done else None,
        "audio_urls": urls if is_done else None,
        "stream_url": f"/audio/{job_id}/stream" if row["streams"] and state == "running" else None,
        "request": row["request"],
        "priority": row["priority"],
        "attempt": row["attempt"],
        "result": _result(row["result"], urls) if is_done else None,
        "error": row["error"],
    }


def audio_url(job_id: str, number: int, extension: str) -> str:
    return f"/audio/{job_id}{'' if number == 1 else f'-{number}'}.{extension}"


def _result(result: Mapping[str, Any], urls: list[str]) -> dict[str, Any]:
    clips = [
        {"url": url, **{name: value for name, value in clip.items() if name not in _HIDDEN}}
        for url, clip in zip(urls, result["clips"], strict=True)
    ]
    return {**result, "clips": clips, "manifest": None}


def _expected(row: Mapping[str, Any], load: Load) -> float | None:
    own = float(row["audio_seconds"])
    if row["state"] == "running":
        done = float(row["progress"])
        if done <= 0:
            return round(own * load.pace, 1)
        elapsed: float = (datetime.now(timezone.utc) - row["started_at"]).total_seconds()
        return round(elapsed * (1 - done) / done, 1)
    if row["state"] != "queued" or not load.slots:
        return None
    # Of those that wait it stands somewhere: as much of their work as its share of the places.
    share = (row["position"] or load.queued) / max(1, load.queued)
    return round((load.waiting * share / load.slots + own) * load.pace, 1)


def _moment(value: datetime | None) -> str | None:
    if value is None:
        return None
    return value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_LOAD = """
    WITH alive AS (
        SELECT count(*) AS workers, coalesce(sum(slots), 0)::int AS slots FROM musicgen_workers
        WHERE seen_at > now() - make_interval(secs => %s) AND makes = %s
    ), unfinished AS (
        SELECT count(*) FILTER (WHERE state = 'queued') AS queued,
            count(*) FILTER (WHERE state = 'running') AS running,
            coalesce(sum(audio_seconds * (1 - progress)), 0)::float AS waiting
        FROM musicgen_jobs WHERE state IN ('queued', 'running')
    ), lately AS (
        SELECT avg(extract(epoch FROM finished_at - started_at) / audio_seconds)::float AS pace
        FROM (SELECT * FROM musicgen_jobs WHERE state = 'completed'
              ORDER BY finished_at DESC LIMIT 50) AS last
    )
    SELECT workers, slots, queued, running, waiting, coalesce(pace, %s::float) AS pace
    FROM alive, unfinished, lately
"""
