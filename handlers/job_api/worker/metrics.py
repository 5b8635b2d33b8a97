"""Prometheus metrics of a worker or relay: its finished jobs, and its start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from handlers.job_api.disk_metrics import DiskCollector
from handlers.job_api.worker.outcome import JobOutcome
from musicgen import __version__

OUTCOMES = ("completed", "failed", "refused", "dropped", "moved", "left")
"""`refused`: the request was at fault, such as input audio without an answer. `dropped`: cancelled,
or passed to another run meanwhile. `moved`: to the remote queue, or back to the local one. `left`:
to other workers, because this one stops or has lost its device."""
_WAIT_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_FIRST_AUDIO_BUCKETS = (0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 120, 300)
_DURATION_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200)
_FACTOR_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.75, 1, 1.5, 2, 4)


class WorkerMetrics:
    """Metrics in a registry of their own. All times are seconds.

    `clips_waiting`: returns the number of clips on this disk still to be uploaded to the bucket.
    `folders`: folders with a watched file system, by name.
    """

    def __init__(
        self,
        clips_waiting: Callable[[], int] | None = None,
        folders: Mapping[str, Path] | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        DiskCollector(folders or {}, self.registry)
        self.queue_wait = self._histogram(
            "queue_wait_seconds", "Time from submission to start of a job", _WAIT_BUCKETS
        )
        self.first_audio = self._histogram(
            "time_to_first_audio_seconds",
            "Time from submission to the first audio of a job",
            _FIRST_AUDIO_BUCKETS,
        )
        self.duration = self._histogram(
            "job_duration_seconds", "Time from start to end of a job", _DURATION_BUCKETS
        )
        self.real_time_factor = self._histogram(
            "realtime_factor", "Seconds of work for a second of audio", _FACTOR_BUCKETS
        )
        self.jobs = Counter(
            "musicgen_jobs",
            "Job runs ended in this process, by outcome",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in OUTCOMES:
            self.jobs.labels(outcome)
        self.audio_seconds = Counter(
            "musicgen_audio_seconds", "Seconds of audio made", registry=self.registry
        )
        self.batch_size = self._gauge("batch_size", "Jobs running now in this process")
        self.orphans = Counter(
            "musicgen_orphans_recovered",
            "Jobs of lost workers queued again by this process",
            registry=self.registry,
        )
        self._start = Gauge(
            "musicgen_start_seconds",
            "Time from the start of the process to the end of each phase",
            ["phase"],
            registry=self.registry,
        )
        self._ready = self._gauge(
            "ready_timestamp_seconds", "Unix time at which the model was ready"
        )
        self._load = self._gauge(
            "model_load_seconds", "Time from the start of the process until its model was ready"
        )
        Info("musicgen_build", "Version of the code", registry=self.registry).info(
            {"version": __version__}
        )
        if clips_waiting is not None:
            Gauge(
                "musicgen_spool_clips",
                "Clips on this disk to be uploaded to the bucket",
                registry=self.registry,
            ).set_function(clips_waiting)

    def record_start(self, timeline: Mapping[str, float]) -> None:
        """Record the start. `timeline`: seconds to the end of each phase, readiness last."""
        for phase, seconds in timeline.items():
            self._start.labels(phase).set(seconds)
        self._load.set(max(timeline.values(), default=0.0))
        self._ready.set_to_current_time()

    def record_job_start(self, waited: float) -> None:
        """Record the start of a job, submitted `waited` seconds ago."""
        self.queue_wait.observe(waited)
        self.batch_size.inc()

    def record_job_end(self, outcome: JobOutcome, waited: float, duration: float) -> None:
        """Record the end of a job. `waited`: from its submission to its start."""
        self.batch_size.dec()
        self.jobs.labels(outcome.kind).inc()
        self.duration.observe(duration)
        self.audio_seconds.inc(outcome.audio_seconds)
        if outcome.real_time_factor is not None:
            self.real_time_factor.observe(outcome.real_time_factor)
        if outcome.first_audio is not None:
            self.first_audio.observe(waited + outcome.first_audio)

    def render(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"musicgen_{name}", help_text, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"musicgen_{name}", help_text, buckets=buckets, registry=self.registry)
