"""Status of a job, as JSON for its caller, with estimates from the load of the queue."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.files import count_clips
from musicgen.midi import packages as midi

ALIVE_SECONDS = 20.0
"""A worker counts as alive for this time after its last heartbeat."""
PACE_DEFAULT = 1.0
"""Seconds of work for a second of audio, before any job has been measured."""
_CACHE_SECONDS = 1.0
_HIDDEN = ("address",)


@dataclass(frozen=True)
class QueueLoad:
    """Load of the queue.

    `slots`: jobs that the workers can run at once. `queued`: jobs that wait for a slot, or for any
    worker, but not those whose sound a worker fetches. `waiting`: seconds of audio still to make.
    `pace`: seconds of work for one second of audio, averaged over the last jobs.
    """

    workers: int
    slots: int
    queued: int
    running: int
    waiting: float
    pace: float

    @property
    def wait_seconds(self) -> float | None:
        """Seconds until a job submitted now would start; None without a worker."""
        free = self.queued == 0 and self.running < self.slots
        if free:
            return 0.0
        return self.waiting * self.pace / self.slots if self.slots else None

    @property
    def next_end_seconds(self) -> float | None:
        """Average seconds until the next job finishes; None without jobs or workers."""
        jobs = self.queued + self.running
        return self.waiting / jobs * self.pace / self.slots if jobs and self.slots else None


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
                row = (await query(self._pool, _LOAD, ALIVE_SECONDS, queue.LOCAL, PACE_DEFAULT))[0]
                self._load = QueueLoad(**row)
                self._read_at = time.monotonic()
                self._valid_until = self._read_at + _CACHE_SECONDS
            return self._load


def build_status(row: Mapping[str, Any], load: QueueLoad | None = None) -> dict[str, Any]:
    """Return the status JSON of a job's row; `load` is needed for the expected seconds."""
    state, job_id = row["state"], row["id"]
    extension = row["request"].get("output_format", "wav")
    is_done = state == "completed"
    urls = [audio_url(job_id, n + 1, extension) for n in range(count_clips(row["request"]))]
    return {
        "job_id": job_id,
        "status": state,
        "progress": round(float(row["progress"]), 4),
        "position": row["position"] if state == "queued" else None,
        "expected_seconds": _estimate_seconds(row, load) if load else None,
        "created_at": _format_time(row["created_at"]),
        "started_at": _format_time(row["started_at"]),
        "finished_at": _format_time(row["finished_at"]),
        "audio_url": urls[0] if is_done else None,
        "audio_urls": urls if is_done else None,
        "stream_url": f"/v1/audio/{job_id}/stream"
        if row["streams"] and state == "running"
        else None,
        "name": row["name"],
        "favourite": row["favourite"],
        "request": row["request"],
        "priority": row["priority"],
        "attempt": row["attempt"],
        "result": _build_result(row["result"], urls) if is_done else None,
        "error": row["error"],
    }


def audio_url(job_id: str, number: int, extension: str) -> str:
    """Return the URL of a clip on this server; `number` counts from 1."""
    return f"/audio/{job_id}{'' if number == 1 else f'-{number}'}.{extension}"


def _build_result(result: Mapping[str, Any], urls: list[str]) -> dict[str, Any]:
    clips = [
        _build_clip(clip, *url.rsplit(".", 1))
        for url, clip in zip(urls, result["clips"], strict=True)
    ]
    return {**result, "clips": clips, "manifest": None}


def _build_clip(clip: Mapping[str, Any], base: str, extension: str) -> dict[str, Any]:
    """Return a clip with the addresses of its files; all begin with `base`."""
    parts = clip.get("parts") or []
    midi_url = f"{base}.{midi.EXTENSION}"
    has_midi = midi.find_missing() is None or any(part["name"] == midi.PART for part in parts)
    urls = [
        midi_url if part["name"] == midi.PART else f"{base}-{part['name']}.{extension}"
        for part in parts
    ]
    return {
        "url": f"{base}.{extension}",
        "midi_url": midi_url if has_midi else None,
        **_leave_out_hidden(clip),
        "parts": [
            {"url": url, **_leave_out_hidden(part)} for url, part in zip(urls, parts, strict=True)
        ],
    }


def _leave_out_hidden(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in _HIDDEN}


def _estimate_seconds(row: Mapping[str, Any], load: QueueLoad) -> float | None:
    """Return the seconds until a job finishes; None if it has finished or no worker runs."""
    own = float(row["audio_seconds"])
    if row["state"] == "running":
        done = float(row["progress"])
        if done <= 0:
            return round(own * load.pace, 1)
        elapsed: float = (datetime.now(UTC) - row["started_at"]).total_seconds()
        return round(elapsed * (1 - done) / done, 1)
    if row["state"] != "queued" or not load.slots:
        return None
    # The work before this job, estimated from its place among the waiting ones.
    share = min(1.0, (row["position"] or load.queued) / max(1, load.queued))
    return round((load.waiting * share / load.slots + own) * load.pace, 1)


def _format_time(value: datetime | None) -> str | None:
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_LOAD = """
    WITH alive AS (
        SELECT count(*) AS workers, coalesce(sum(slots), 0)::int AS slots FROM musicgen_workers
        WHERE seen_at > now() - make_interval(secs => %s) AND makes = %s
    ), unfinished AS (
        SELECT count(*) FILTER (WHERE state = 'queued'
                AND (NOT fetches OR (SELECT workers FROM alive) = 0)) AS queued,
            count(*) FILTER (WHERE state = 'running') AS running,
            coalesce(sum(audio_seconds * (1 - progress)) FILTER (WHERE NOT fetches), 0)::float
                AS waiting
        FROM musicgen_jobs WHERE state IN ('queued', 'running')
    ), lately AS (
        SELECT avg(extract(epoch FROM finished_at - started_at) / audio_seconds)::float AS pace
        FROM (SELECT * FROM musicgen_jobs WHERE state = 'completed'
              ORDER BY finished_at DESC LIMIT 50) AS last
    )
    SELECT workers, slots, queued, running, waiting, coalesce(pace, %s::float) AS pace
    FROM alive, unfinished, lately
"""
