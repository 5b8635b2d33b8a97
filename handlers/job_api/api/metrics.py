"""Prometheus metrics of an API process, and of the queue as read from the database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from handlers.job_api.disk_metrics import DiskCollector
from handlers.job_api.store.database_meter import DatabaseReading
from musicgen import __version__

TYPE = CONTENT_TYPE_LATEST
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER = "other"
"""Label of everything a caller can make up, such as an unknown method: labels stay bounded."""
WEBHOOK_OUTCOMES = ("delivered", "repeated", "given_up")
_FIGURES: dict[str, tuple[str, Callable[[DatabaseReading], float]]] = {
    "jobs_waiting": ("Jobs in the queue", lambda reading: reading.load.queued),
    "jobs_running": ("Jobs running now", lambda reading: reading.load.running),
    "slots": ("Jobs the workers can run at once", lambda reading: reading.load.slots),
    "workers": ("Workers with a recent heartbeat", lambda reading: reading.load.workers),
    "audio_seconds_waiting": (
        "Seconds of audio still to make",
        lambda reading: reading.load.waiting,
    ),
    "spent_usd": (
        "US dollars spent on remote platforms in this month (UTC)",
        lambda reading: reading.spent_usd,
    ),
}
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ApiMetrics:
    """Metrics in a registry of their own, so several can exist in one process.

    `folders`: folders with a watched file system, by name. `spend_limit_usd`: the monthly cap.
    """

    def __init__(
        self, folders: Mapping[str, Path] | None = None, spend_limit_usd: float | None = None
    ) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
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
        self._webhooks = Counter(
            "musicgen_webhooks",
            "Attempts to deliver a webhook, by outcome",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in WEBHOOK_OUTCOMES:
            self._webhooks.labels(outcome)
        self.orphans = Counter(
            "musicgen_orphans_recovered",
            "Jobs of lost workers queued again by this process",
            registry=self.registry,
        )
        Info("musicgen_build", "Version of the code", registry=self.registry).info(
            {"version": __version__}
        )
        self.submitted = Counter(
            "musicgen_jobs_submitted", "Jobs submitted to this process", registry=self.registry
        )
        if spend_limit_usd is not None:
            Gauge(
                "musicgen_spend_limit_usd",
                "US dollars that remote platforms may cost in a month",
                registry=self.registry,
            ).set(spend_limit_usd)
        DiskCollector(folders or {}, self.registry)
        self._database = _DatabaseCollector(self.registry)

    def observe_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a call. `route`: its template, None for a call that fits no route."""
        label = method if method in METHODS else OTHER
        self._requests.labels(label, route or OTHER, status).observe(seconds)

    def count_webhook(self, outcome: str) -> None:
        """Count an attempt to deliver a webhook; `outcome` is one of `WEBHOOK_OUTCOMES`."""
        self._webhooks.labels(outcome).inc()

    def render(self, reading: DatabaseReading | None) -> bytes:
        """Return the metrics in Prometheus's text format.

        `reading`: figures of the database, None if it does not answer; they are left out then.
        """
        self._database.reading = reading
        return generate_latest(self.registry)


class _DatabaseCollector(Collector):
    """Collector of the figures of the database; without a reading only `musicgen_database_up`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reading: DatabaseReading | None = None
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Return a family for each figure, empty without a reading."""
        reading = self.reading
        up = "Whether the database answered this scrape in time"
        yield GaugeMetricFamily("musicgen_database_up", up, value=float(reading is not None))
        for name, (text, read) in _FIGURES.items():
            family = GaugeMetricFamily(f"musicgen_{name}", text)
            if reading is not None:
                family.add_metric([], read(reading))
            yield family
        states = GaugeMetricFamily(
            "musicgen_jobs_kept", "Jobs in the database, by state", labels=["state"]
        )
        for state, jobs in (reading.states if reading else {}).items():
            states.add_metric([state], jobs)
        yield states
