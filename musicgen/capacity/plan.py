"""Workers and costs for a workload with a latency target."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from musicgen.capacity.simulate import Scaling, Simulation, SimulationResult, keep_workers
from musicgen.capacity.throughput import Pace

PRICES: dict[str, Any] = json.loads(
    Path(__file__).with_name("prices.json").read_text(encoding="utf-8")
)
MOST_JOBS = 20_000
"""Simulated jobs for each offer; more would change no printed digit."""
MOST_WORKERS = 10_000
SERVERLESS_IDLE = 60.0
IDLE = {"cloudrun": 900.0, "sagemaker": 300.0}
"""Idle seconds until a worker stops, where the platform or infra/deploy has other ones."""
KUBERNETES_IDLE, KUBERNETES_DRAINS_EVERY = 300.0, 120.0
"""As in infra/k8s/base/worker-scaling.yaml, without the last worker's longer idle time."""


@dataclass(frozen=True)
class Workload:
    """Workload to plan for, and its latency target.

    `seconds`: audio of each job. `p95`: target for the 95th percentile of the seconds from
    submission to the end. `slots`: concurrent jobs of a worker. `overhead`: audio seconds of work
    for each job besides decoding.
    """

    jobs_per_hour: float
    seconds: float
    p95: float
    slots: int = 8
    cold_start: float = 30.0
    overhead: float = 0.0


@dataclass(frozen=True)
class Offer:
    """Price of one worker in USD an hour; an always-on price is optional."""

    platform: str
    gpu: str
    usd_per_hour: float
    usd_per_hour_always_on: float | None = None

    @property
    def always_on(self) -> float:
        """Price in USD an hour of a worker that is always on."""
        return self.usd_per_hour_always_on or self.usd_per_hour


@dataclass(frozen=True)
class Assessment:
    """Workers, latency and costs of one offer; costs are USD for a minute of audio.

    `replicas`: the fewest always-on workers for the latency target, None if no number reaches it.
    `break_even`: jobs an hour above which one always-on worker is cheaper than a serverless worker;
    None for never.
    """

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
    """Return the offers in prices.json."""
    return [Offer(**offer) for offer in PRICES["offers"]]


def poisson(jobs_per_hour: float, count: int, seed: int = 0) -> list[float]:
    """Return the arrival times in seconds of `count` independent jobs."""
    rng, now, times = random.Random(seed), 0.0, []
    for _ in range(count):
        now += rng.expovariate(jobs_per_hour / 3600)
        times.append(now)
    return times


def assess(load: Workload, offer: Offer, pace: Pace) -> Assessment:
    """Simulate a workload on an offer, with always-on and with serverless workers."""
    count = min(MOST_JOBS, max(2000, round(load.jobs_per_hour)))
    arrivals = poisson(load.jobs_per_hour, count)
    sizes = [load.seconds] * count

    def run(scaling: Scaling) -> SimulationResult:
        return Simulation(arrivals, sizes, pace, load.slots, scaling, load.overhead).run()

    replicas = _find_fewest(load, pace, run)
    p95 = run(keep_workers(replicas)).percentile(0.95) if replicas else math.inf
    most = min(MOST_WORKERS, 2 * (replicas or _compute_minimum(load, pace)))
    idle = IDLE.get(offer.platform, SERVERLESS_IDLE)
    scaling = Scaling(0, most, load.slots, load.cold_start, idle=idle)
    if offer.platform == "kubernetes":
        scaling = replace(scaling, idle=KUBERNETES_IDLE, drains_every=KUBERNETES_DRAINS_EVERY)
    scaled = run(scaling)
    minutes = load.jobs_per_hour * load.seconds / 60
    hours = scaled.worker_seconds / 3600
    alone = (load.cold_start + idle + _seconds_alone(load, pace)) / 3600 * offer.usd_per_hour
    break_even = offer.always_on / alone
    reachable = 3600 * pace.of(load.slots) / (load.seconds + load.overhead)
    return Assessment(
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


def _seconds_alone(load: Workload, pace: Pace) -> float:
    """Return the seconds of a job alone on a worker."""
    return (load.seconds + load.overhead) / pace.of(1)


def _compute_minimum(load: Workload, pace: Pace) -> int:
    """Return the fewest workers with a stable queue."""
    offered = load.jobs_per_hour / 3600 * (load.seconds + load.overhead)
    return math.floor(offered / pace.of(load.slots)) + 1


def _find_fewest(
    load: Workload, pace: Pace, run: Callable[[Scaling], SimulationResult]
) -> int | None:
    """Find the fewest workers for the target by bisection; more workers are never slower."""
    if _seconds_alone(load, pace) > load.p95:
        return None
    low = high = _compute_minimum(load, pace)
    if high > MOST_WORKERS:
        return None
    while run(keep_workers(high)).percentile(0.95) > load.p95:
        low, high = high + 1, 2 * high
        if high > MOST_WORKERS:
            return None
    while low < high:
        middle = (low + high) // 2
        if run(keep_workers(middle)).percentile(0.95) <= load.p95:
            high = middle
        else:
            low = middle + 1
    return high


def cheapest(answers: Sequence[Assessment]) -> Assessment | None:
    """Return the cheapest offer within the latency target, always on or serverless."""
    suitable = [answer for answer in answers if answer.replicas is not None]
    return min(suitable, key=lambda a: min(a.always_on, a.serverless), default=None)
