"""Open-loop load: send jobs at given moments and measure every job.

A slow server does not slow down the arrivals, as it would with callers in a closed loop. Every job
has its own thread; a waiting thread costs little.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

PROMPTS = (
    "upbeat piano melody in C major",
    "slow dark strings",
    "fast high bells with drums",
    "calm organ",
)


@dataclass(frozen=True)
class Sample:
    """Measurement of one job.

    `due`: seconds from the start of the test to the arrival. `latency`: seconds from the arrival to
    the end. `wait`: seconds in the queue, or None without a report of the server. `audio`: seconds
    of audio. `error`: an error code, or None.
    """

    due: float
    latency: float
    wait: float | None
    audio: float
    error: str | None


@dataclass(frozen=True)
class JobReport:
    """Server's report of a finished job.

    `audio`: seconds of audio. `wait` and `span`: seconds from the submission to the start and to
    the end, or None.
    """

    audio: float
    wait: float | None = None
    span: float | None = None


Ask = Callable[[dict[str, Any]], JobReport]
"""Submits one job and waits for its end. Raises: the error of the job."""


def poisson(per_hour: float, seconds: float, seed: int) -> list[float]:
    """Return arrival times in seconds, drawn from a Poisson process."""
    rng, moment, moments = random.Random(seed), 0.0, []
    while (moment := moment + rng.expovariate(per_hour / 3600)) < seconds:
        moments.append(moment)
    return moments


def drive(
    ask: Ask, moments: Sequence[float], durations: Sequence[float], seed: int
) -> list[Sample]:
    """Submit a job with a random one of `durations` at every moment, and wait for all."""
    rng = random.Random(seed)
    samples: list[Sample] = []
    lock, began = threading.Lock(), time.monotonic()

    def one(due: float, fields: dict[str, Any]) -> None:
        job, error_code, submitted = JobReport(0.0), None, time.monotonic()
        try:
            job = ask(fields)
        except Exception as error:
            error_code = _code(error)
        # A client polls at intervals, so the server's own times are more exact. A late submission
        # by this machine counts too.
        span = time.monotonic() - submitted if job.span is None else job.span
        latency = submitted - began - due + span
        sample = Sample(due, latency, job.wait, job.audio, error_code)
        with lock:
            samples.append(sample)

    threads = []
    for number, due in enumerate(moments):
        fields = {
            "prompt": rng.choice(PROMPTS),
            "duration": rng.choice(list(durations)),
            "seed": number,
        }
        time.sleep(max(0.0, began + due - time.monotonic()))
        threads.append(threading.Thread(target=one, args=(due, fields)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return sorted(samples, key=lambda sample: sample.due)


def _code(error: Exception) -> str:
    """Return the error code of the server or the client, or else the name of the class."""
    for name in ("code_there", "code"):
        if code := getattr(error, name, None):
            return str(code)
    return type(error).__name__


def report(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the percentiles of the successful jobs, the throughput and the errors by code."""
    good = [sample for sample in samples if sample.error is None]
    ends = [sample.due + sample.latency for sample in good]
    span = max(ends, default=0.0) - min((sample.due for sample in samples), default=0.0)
    errors: dict[str, int] = {}
    for sample in samples:
        if sample.error is not None:
            errors[sample.error] = errors.get(sample.error, 0) + 1
    return {
        "jobs": len(samples),
        "completed": len(good),
        "errors": errors,
        "seconds": round(span, 3),
        "jobs_per_hour": round(3600 * len(good) / span, 2) if span else 0.0,
        "audio_seconds_per_second": round(sum(e.audio for e in good) / span, 4) if span else 0.0,
        "latency": percentiles([sample.latency for sample in good]),
        "queue_wait": percentiles([sample.wait for sample in good if sample.wait is not None]),
        "samples": [asdict(sample) for sample in samples],
    }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p90, p95, p99 and p100 by nearest rank, or nothing without values."""
    ordered = sorted(values)
    if not ordered:
        return {}
    ranks = {p: ordered[max(0, -(-p * len(ordered) // 100) - 1)] for p in (50, 90, 95, 99, 100)}
    return {f"p{p}": round(value, 3) for p, value in ranks.items()}
