"""Prometheus metrics of an API process, and of the queue as read from the database."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.status import QueueLoad
from musicgen import __version__

TYPE = CONTENT_TYPE_LATEST
_SPENT = "SELECT usd FROM musicgen_spent WHERE month = to_char(now() AT TIME ZONE 'utc', 'YYYY-MM')"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ApiMetrics:
    """Metrics in a registry of their own, so several can exist in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "musicgen_http_request_seconds",
            "Calls by route and status",
            ["method", "route", "status"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.refused = Counter(
            "musicgen_calls_refused",
            "Calls refused by access rules and limits, by code",
            ["code"],
            registry=self.registry,
        )
        self._states = Gauge(
            "musicgen_jobs_kept",
            "Jobs in the database, by state",
            ["state"],
            registry=self.registry,
        )
        self._queued, self._running, self._slots, self._workers, self._audio = (
            Gauge(f"musicgen_{name}", text, registry=self.registry)
            for name, text in (
                ("jobs_waiting", "Jobs in the queue"),
                ("jobs_running", "Jobs running now"),
                ("slots", "Jobs the workers can run at once"),
                ("workers", "Workers with a recent heartbeat"),
                ("audio_seconds_waiting", "Seconds of audio still to make"),
            )
        )
        self.orphans = Counter(
            "musicgen_orphans_recovered",
            "Jobs of lost workers queued again by this process",
            registry=self.registry,
        )
        self._spent = Gauge(
            "musicgen_spent_usd",
            "US dollars spent on remote platforms in this month (UTC)",
            registry=self.registry,
        )
        Info("musicgen_build", "Version of the code", registry=self.registry).info(
            {"version": __version__}
        )
        self.submitted = Counter(
            "musicgen_jobs_submitted", "Jobs submitted to this process", registry=self.registry
        )

    async def render(self, pool: Pool, load: QueueLoad) -> bytes:
        """Return the metrics in Prometheus's text format, with the state of the database."""
        self._queued.set(load.queued)
        self._running.set(load.running)
        self._slots.set(load.slots)
        self._workers.set(load.workers)
        self._audio.set(load.waiting)
        count_states = "SELECT state, count(*) AS jobs FROM musicgen_jobs GROUP BY state"
        for row in await query(pool, count_states):
            self._states.labels(row["state"]).set(row["jobs"])
        spent = await query(pool, _SPENT)
        self._spent.set(float(spent[0]["usd"]) if spent else 0.0)
        return generate_latest(self.registry)
