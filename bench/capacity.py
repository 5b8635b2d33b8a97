"""Simulate an autoscaler for one day of arrivals, with the waits of jobs and the cost of workers.

    python bench/capacity.py            # writes docs/images/capacity.png; the last line is JSON

The worker's pace with 1, 4 and 8 jobs is a measurement of bench/serve.py (two processors, int8).
The day has a quiet night, a busy evening, and a threefold rate for ten minutes at 12:00.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

from musicgen.capacity.simulate import Scaling, Simulation, SimulationResult
from musicgen.capacity.throughput import from_bench

PER_HOUR, SECONDS, SLOTS, COLD_START = 6000.0, 10.0, 8, 30.0
DAY, NOON, BURST_SECONDS, BURST = 86_400.0, 12 * 3600.0, 600.0, 3.0
PICTURE = ROOT / "docs/images/capacity.png"
RESULT = ROOT / "bench/results/serve-epyc.json"


def rate(at: float) -> float:
    """Return the jobs an hour at a second of the day."""
    usual = PER_HOUR * (1 + 0.8 * math.sin(2 * math.pi * (at / DAY - 0.55)))
    return usual * (BURST if NOON <= at < NOON + BURST_SECONDS else 1.0)


def draw_arrivals(seed: int) -> list[float]:
    """Draw arrivals by thinning: candidates at the highest rate, dropped by the current rate."""
    rng, moment, moments = random.Random(seed), 0.0, []
    highest = BURST * 2 * PER_HOUR
    while (moment := moment + rng.expovariate(highest / 3600)) < DAY:
        if rng.random() < rate(moment) / highest:
            moments.append(moment)
    return moments


def plot(moments: list[float], outcome: SimulationResult) -> None:
    """Draw the rate of jobs, the number of workers and the latencies over the day."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(9, 7.5), sharex=True)
    hours = [at / 3600 for at, _, _ in outcome.polls]
    top.plot(hours, [rate(at) for at, _, _ in outcome.polls], color="#0b6e63")
    top.set_ylabel("jobs an hour")
    middle.step(hours, [workers for _, workers, _ in outcome.polls], where="post", color="#0b6e63")
    middle.set_ylabel("workers")
    bins = [[] for _ in range(24 * 12)]
    for at, latency in zip(moments, outcome.latencies, strict=True):
        bins[int(at // 300)].append(latency)
    points = [(n / 12, sorted(latencies)) for n, latencies in enumerate(bins) if latencies]
    for share, style in ((0.5, "-"), (0.95, "--")):
        values = [ranked[min(len(ranked) - 1, int(share * len(ranked)))] for _, ranked in points]
        bottom.plot([hour for hour, _ in points], values, style, label=f"p{share:.0%}".rstrip("%"))
    bottom.set_ylabel("seconds to the clip")
    bottom.set_xlabel("hour of the day")
    bottom.set_ylim(bottom=0)
    bottom.legend()
    for axis in (top, middle, bottom):
        axis.grid(alpha=0.3)
        axis.set_xlim(0, 24)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    pace = from_bench(RESULT, "musicgen int8")
    moments = draw_arrivals(seed=1)
    # Settings of infra/k8s.
    scaling = Scaling(1, 60, SLOTS // 2, COLD_START, poll=10.0, idle=300.0, drains_every=120.0)
    began = time.perf_counter()
    outcome = Simulation(moments, [SECONDS] * len(moments), pace, SLOTS, scaling).run()
    took = time.perf_counter() - began
    plot(moments, outcome)
    busiest = max(workers for _, workers, _ in outcome.polls)
    print(
        json.dumps(
            {
                "name": "capacity",
                "ratios": {
                    "always on at the peak over autoscaled": busiest * DAY / outcome.worker_seconds
                },
                "jobs": len(moments),
                "simulated_in": round(took, 2),
                "worker_hours": round(outcome.worker_seconds / 3600, 1),
                "most_workers": busiest,
                "cold_share": round(outcome.cold / len(moments), 5),
                "latency": {f"p{p}": round(outcome.percentile(p / 100), 1) for p in (50, 95, 99)},
            }
        )
    )


if __name__ == "__main__":
    main()
