"""What became of one run of a job, for whoever counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """`kind`: one of `worker_metrics.OUTCOMES`. `first_audio`: seconds from the run's beginning to
    its first sound, where it was streamed. `real_time_factor`: seconds of work for one of audio."""

    kind: str
    audio_seconds: float = 0.0
    real_time_factor: float | None = None
    first_audio: float | None = None


FAILED, DROPPED, MOVED, LEFT = (Outcome(kind) for kind in ("failed", "dropped", "moved", "left"))
