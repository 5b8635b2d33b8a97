"""From a load and a promise to workers and money."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from musicgen.capacity.simulate import Outcome, Scaling, Simulation, fixed
from musicgen.capacity.throughput import Pace

PRICES: dict[str, Any] = json.loads(
    Path(__file__).with_name("prices.json").read_text(encoding="utf-8")
)
MOST_JOBS = 20_000
"""Simulated for each answer: more change no digit that is shown."""
MOST_WORKERS = 10_000
SERVERLESS_IDLE = 60.0
KUBERNETES_IDLE, KUBERNETES_DRAINS_EVERY = 300.0, 120.0
"""As infra/k8s/base/worker-scaling.yaml has them, but for the last worker's longer rest."""


@dataclass(frozen=True)
class Load:
    """`seconds`: of audio, each job. `p95`: seconds from submission to the end that 95 % keep."""

    jobs_per_hour: float
    seconds: float
    p95: float
    slots: int = 8
    cold_start: float = 30.0
    overhead: float = 0.0


@dataclass(frozen=True)
class Offer:
    """USD an hour for one worker; without a price of its own, always on costs the same."""

    platform: str
    gpu: str
    usd_per_hour: float
    usd_per_hour_always_on: float | None = None

    @property
    def always_on(self) -> float:
        return self.usd_per_hour_always_on or self.usd_per_hour


@dataclass(frozen=True)
class Answer:
    """Of one offer. Costs are USD for a minute of audio. `break_even`: jobs an hour above which one
    worker that is always on costs less than one that comes for each job; None for never.
    `replicas` None: no number of workers keeps the promise."""

    offer: Offer
    pace: Pace
    replicas: int | None
    p95: float
    always_on: float
    serverless: float
    serverless_p95: float
    cold_share: float
    break_even: float | None


def offers() -> list[Offer]:
    return [Offer(**each) for each in PRICES["offers"]]


def poisson(jobs_per_hour: float, count: int, seed: int = 0) -> list[float]:
    """Seconds at which `count` jobs arrive that know nothing of each other."""
    rng, now, times = random.Random(seed), 0.0, []
    for _ in range(count):
        now += rng.expovariate(jobs_per_hour / 3600)
        times.append(now)
    return times


def answer(load: Load, offer: Offer, pace: Pace) -> Answer:
    count = min(MOST_JOBS, max(2000, round(load.jobs_per_hour)))
    arrivals = poisson(load.jobs_per_hour, count)
    sizes = [load.seconds] * count

    def run(scaling: Scaling) -> Outcome:
        return Simulation(arrivals, sizes, pace, load.slots, scaling, load.overhead).run()

    replicas = _fewest(load, pace, run)
    p95 = run(fixed(replicas)).percentile(0.95) if replicas else math.inf
    most = max(1, 2 * (replicas or _at_least(load, pace)))
    scaling = Scaling(0, most, load.slots, load.cold_start, idle=SERVERLESS_IDLE)
    if offer.platform == "kubernetes":
        scaling = replace(scaling, idle=KUBERNETES_IDLE, drains_every=KUBERNETES_DRAINS_EVERY)
    scaled = run(scaling)
    minutes = load.jobs_per_hour * load.seconds / 60
    hours = scaled.worker_seconds / 3600
    alone = (load.cold_start + SERVERLESS_IDLE + _alone(load, pace)) / 3600 * offer.usd_per_hour
    break_even = offer.always_on / alone
    reachable = 3600 * pace.of(load.slots) / (load.seconds + load.overhead)
    return Answer(
        offer,
        pace,
        replicas,
        p95,
        (replicas or math.inf) * offer.always_on / minutes,
        hours * offer.usd_per_hour / (count * load.seconds / 60),
        scaled.percentile(0.95),
        scaled.cold / count,
        break_even if break_even < reachable else None,
    )


def _alone(load: Load, pace: Pace) -> float:
    """Seconds that a job takes with a worker of its own."""
    return (load.seconds + load.overhead) / pace.of(1)


def _at_least(load: Load, pace: Pace) -> int:
    """Workers without which the queue would only grow."""
    offered = load.jobs_per_hour / 3600 * (load.seconds + load.overhead)
    return math.floor(offered / pace.of(load.slots)) + 1


def _fewest(load: Load, pace: Pace, run: Callable[[Scaling], Outcome]) -> int | None:
    """By bisection: more workers are never slower."""
    if _alone(load, pace) > load.p95:
        return None
    low = high = _at_least(load, pace)
    while run(fixed(high)).percentile(0.95) > load.p95:
        low, high = high + 1, 2 * high
        if high > MOST_WORKERS:
            return None
    while low < high:
        middle = (low + high) // 2
        if run(fixed(middle)).percentile(0.95) <= load.p95:
            high = middle
        else:
            low = middle + 1
    return high


def cheapest(answers: Sequence[Answer]) -> Answer | None:
    """Of those that keep the promise, by the better of their two ways."""
    kept = [each for each in answers if each.replicas is not None]
    return min(kept, key=lambda a: min(a.always_on, a.serverless), default=None)
