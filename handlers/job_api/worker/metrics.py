"""What Prometheus reads of a worker or a relay: of jobs that it has done, and of its start."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from handlers.job_api.worker.outcome import Outcome
from musicgen import __version__

TYPE = CONTENT_TYPE_LATEST
OUTCOMES = ("completed", "failed", "dropped", "moved", "left")
"""`dropped`: cancelled, or another run's by then. `moved`: to who makes it elsewhere, or back.
`left`: for other workers, when this one stops or its device is lost."""
_WAITS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_FIRST = (0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 120, 300)
_LASTS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200)
_FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.75, 1, 1.5, 2, 4)


class WorkerMetrics:
    """One registry for each process. All times are seconds.

    `clips_waiting` says how many clips wait on this disk for a bucket.
    """

    def __init__(self, clips_waiting: Callable[[], int] | None = None) -> None:
        self.registry = CollectorRegistry()
        self.queue_wait = self._histogram(
            "queue_wait_seconds", "From a job's submission to its beginning", _WAITS
        )
        self.first_audio = self._histogram(
            "time_to_first_audio_seconds", "From a job's submission to its first sound", _FIRST
        )
        self.duration = self._histogram(
            "job_duration_seconds", "From a job's beginning to its end", _LASTS
        )
        self.real_time_factor = self._histogram(
            "realtime_factor", "Seconds of work for a second of audio", _FACTORS
        )
        self.jobs = Counter(
            "musicgen_jobs",
            "Jobs that this process is done with",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in OUTCOMES:
            self.jobs.labels(outcome)
        self.audio_seconds = Counter(
            "musicgen_audio_seconds", "Seconds of audio made", registry=self.registry
        )
        self.batch_size = Gauge(
            "musicgen_batch_size", "Jobs that are made at this moment", registry=self.registry
        )
        self.orphans = Counter(
            "musicgen_orphans_recovered",
            "Jobs of lost workers that were queued again by this process",
            registry=self.registry,
        )
        self._start = Gauge(
            "musicgen_start_seconds",
            "From the process's start to the end of each phase of it",
            ["phase"],
            registry=self.registry,
        )
        self._load = Gauge(
            "musicgen_model_load_seconds",
            "From the process's start until its model was ready",
            registry=self.registry,
        )
        Info("musicgen_build", "Of this code", registry=self.registry).info(
            {"version": __version__}
        )
        if clips_waiting is not None:
            Gauge(
                "musicgen_spool_clips", "Clips that wait for a bucket", registry=self.registry
            ).set_function(clips_waiting)

    def started(self, timeline: Mapping[str, float]) -> None:
        """`timeline`: seconds to the end of each phase; the last one is readiness."""
        for phase, seconds in timeline.items():
            self._start.labels(phase).set(seconds)
        self._load.set(max(timeline.values(), default=0.0))

    def begun(self, waited: float) -> None:
        """A job that was submitted `waited` seconds ago."""
        self.queue_wait.observe(waited)
        self.batch_size.inc()

    def ended(self, outcome: Outcome, waited: float, lasted: float) -> None:
        self.batch_size.dec()
        self.jobs.labels(outcome.kind).inc()
        self.duration.observe(lasted)
        self.audio_seconds.inc(outcome.audio_seconds)
        if outcome.real_time_factor is not None:
            self.real_time_factor.observe(outcome.real_time_factor)
        if outcome.first_audio is not None:
            self.first_audio.observe(waited + outcome.first_audio)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"musicgen_{name}", about, buckets=buckets, registry=self.registry)
