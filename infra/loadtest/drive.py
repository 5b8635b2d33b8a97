"""Jobs at given moments, however slow the answers are, and what became of each.

Arrivals are open loop: a slow server does not slow down those who come to it, as it would if each
caller waited for the last answer. Each job has a thread of its own, which costs
little while it waits.
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
    """One job: seconds after the first one that it was `due`, until it had ended, and, where the
    server says so, until it began. `error`: its code, or None. `audio`: seconds made."""

    due: float
    latency: float
    wait: float | None
    audio: float
    error: str | None


@dataclass(frozen=True)
class Made:
    """What a server says of a job, where it does: seconds until it began and until it ended."""

    audio: float
    wait: float | None = None
    span: float | None = None


Ask = Callable[[dict[str, Any]], Made]
"""Makes one job and waits for it. Raises: what went wrong."""


def poisson(per_hour: float, seconds: float, seed: int) -> list[float]:
    """Moments, in seconds, at which callers come who know nothing of each other."""
    rng, now, moments = random.Random(seed), 0.0, []
    while (now := now + rng.expovariate(per_hour / 3600)) < seconds:
        moments.append(now)
    return moments


def drive(
    ask: Ask, moments: Sequence[float], durations: Sequence[float], seed: int
) -> list[Sample]:
    """Asks for a job of one of `durations` at each moment; returns when all have ended."""
    rng = random.Random(seed)
    samples: list[Sample] = []
    lock, began = threading.Lock(), time.monotonic()

    def one(due: float, fields: dict[str, Any]) -> None:
        made, failed, asked = Made(0.0), None, time.monotonic()
        try:
            made = ask(fields)
        except Exception as error:
            failed = _code(error)
        # The server's own time, where it tells it: a client looks only now and then. What this
        # machine was late counts as well.
        span = time.monotonic() - asked if made.span is None else made.span
        sample = Sample(due, asked - began - due + span, made.wait, made.audio, failed)
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
    """The stable code of whoever did not do it, or else what kind of error it is."""
    for name in ("code_there", "code"):
        if code := getattr(error, name, None):
            return str(code)
    return type(error).__name__


def report(samples: Sequence[Sample]) -> dict[str, Any]:
    """Percentiles of those that succeeded, throughput, and errors by code."""
    good = [each for each in samples if each.error is None]
    ends = [each.due + each.latency for each in good]
    span = max(ends, default=0.0) - min((each.due for each in samples), default=0.0)
    errors: dict[str, int] = {}
    for each in samples:
        if each.error is not None:
            errors[each.error] = errors.get(each.error, 0) + 1
    return {
        "jobs": len(samples),
        "completed": len(good),
        "errors": errors,
        "seconds": round(span, 3),
        "jobs_per_hour": round(3600 * len(good) / span, 2) if span else 0.0,
        "audio_seconds_per_second": round(sum(e.audio for e in good) / span, 4) if span else 0.0,
        "latency": percentiles([each.latency for each in good]),
        "queue_wait": percentiles([each.wait for each in good if each.wait is not None]),
        "samples": [asdict(each) for each in samples],
    }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p90, p95, p99 and the largest, nearest rank; nothing of nothing."""
    ordered = sorted(values)
    if not ordered:
        return {}
    ranks = {p: ordered[max(0, -(-p * len(ordered) // 100) - 1)] for p in (50, 90, 95, 99, 100)}
    return {f"p{p}": round(value, 3) for p, value in ranks.items()}
