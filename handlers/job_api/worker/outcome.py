"""Outcome of one run of a job, for metrics and traces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class JobOutcome:
    """Outcome of a run.

    `kind`: one of `metrics.OUTCOMES`. `real_time_factor`: seconds of work for one second of audio.
    `first_audio`: seconds from the start of the run to its first audio, None without live audio.
    """

    kind: str
    audio_seconds: float = 0.0
    real_time_factor: float | None = None
    first_audio: float | None = None


FAILED, REFUSED, DROPPED, MOVED, LEFT = (
    JobOutcome(kind) for kind in ("failed", "refused", "dropped", "moved", "left")
)
