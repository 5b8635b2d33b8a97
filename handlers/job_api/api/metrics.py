"""What Prometheus reads of an API process; of the queue it asks the database at that moment."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.status import Load
from musicgen import __version__

TYPE = CONTENT_TYPE_LATEST
_SPENT = "SELECT usd FROM musicgen_spent WHERE month = to_char(now() AT TIME ZONE 'utc', 'YYYY-MM')"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ApiMetrics:
    """One registry for each process, so that several in one test do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "musicgen_http_request_seconds",
            "Calls by route and status",
            ["method", "route", "status"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._states = Gauge(
            "musicgen_jobs_kept", "Jobs that are kept, by state", ["state"], registry=self.registry
        )
        self._queued, self._running, self._slots, self._workers, self._audio = (
            Gauge(f"musicgen_{name}", text, registry=self.registry)
            for name, text in (
                ("jobs_waiting", "Jobs in the queue"),
                ("jobs_running", "Jobs that are being made"),
                ("slots", "Jobs that the workers can make at once"),
                ("workers", "Workers that were heard of lately"),
                ("audio_seconds_waiting", "Seconds of audio asked for and not yet made"),
            )
        )
        self.orphans = Counter(
            "musicgen_orphans_recovered",
            "Jobs of lost workers that were queued again by this process",
            registry=self.registry,
        )
        self._spent = Gauge(
            "musicgen_spent_usd", "Paid elsewhere in this month (UTC)", registry=self.registry
        )
        Info("musicgen_build", "Of this code", registry=self.registry).info(
            {"version": __version__}
        )
        self.submitted = Counter(
            "musicgen_jobs_submitted", "Jobs taken by this process", registry=self.registry
        )

    async def exposition(self, pool: Pool, load: Load) -> bytes:
        self._queued.set(load.queued)
        self._running.set(load.running)
        self._slots.set(load.slots)
        self._workers.set(load.workers)
        self._audio.set(load.waiting)
        counted = "SELECT state, count(*) AS jobs FROM musicgen_jobs GROUP BY state"
        for row in await query(pool, counted):
            self._states.labels(row["state"]).set(row["jobs"])
        spent = await query(pool, _SPENT)
        self._spent.set(float(spent[0]["usd"]) if spent else 0.0)
        return generate_latest(self.registry)
