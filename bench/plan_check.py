"""Compare the planner's simulation with a real run of the job API on this machine.

    python bench/plan_check.py [--minutes 4] [--load 0.6] [--rounds 3]

Starts `musicgen serve all` with the demo model and one worker with two slots. First it measures the
inputs of the simulation: the time of one job alone, and of eight jobs at once. Then it predicts and
runs the same jobs: random arrivals, new in each round, and a burst at the end. It compares the
throughput and the 95th percentile of the latency. The last line is one JSON object; a ratio above 1
means a prediction above the measurement.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

from infra.loadtest.drive import drive, poisson, report
from infra.loadtest.targets import ask_job_api
from musicgen.capacity.simulate import Simulation, keep_workers
from musicgen.capacity.throughput import Pace
from tests.support.job_server import data_folder, job_server

SLOTS, SHORT, LONG, REPEATS, CROWD, BURST = 2, 10.0, 30.0, 4, 8, 60


def calibrate(url: str) -> tuple[Pace, float]:
    """Return the pace with one job and with two, and the overhead of a job in seconds of audio.

    The pace of one job follows from the times of `SHORT` and `LONG` seconds of audio; the rest is
    overhead. The pace of two jobs makes the simulation of `CROWD` jobs end at the server's time:
    those jobs start and end at different moments, as under load.
    """
    alone = {seconds: _measure_end(url, 1, [seconds])[0] for seconds in (SHORT, LONG)}
    pace = (LONG - SHORT) / (alone[LONG] - alone[SHORT])
    overhead = max(0.0, alone[SHORT] * pace - SHORT)
    ended, sizes = _measure_end(url, CROWD, [SHORT / 2, SHORT, 2 * SHORT])
    low, high = pace, 4 * pace
    while high - low > 0.001:
        pair = (low + high) / 2
        guess = Simulation(
            [0.0] * CROWD, sizes, _pace(pace, pair), SLOTS, keep_workers(1), overhead
        )
        low, high = (pair, high) if guess.run().ends_at > ended else (low, pair)
    return _pace(pace, high), overhead


def _pace(one: float, two: float) -> Pace:
    return Pace(((1, one), (2, two)), "measured before")


def _measure_end(url: str, jobs: int, durations: list[float]) -> tuple[float, list[float]]:
    """Submit `jobs` at once, and return the seconds to the last end and each job's audio.

    The seconds are the median of several runs with the same jobs.
    """
    spans, moments = [], [0.01 * number for number in range(jobs)]  # in one order every time
    for _ in range(REPEATS):
        samples = drive(ask_job_api(url, None, 300), moments, durations, 0)
        assert all(sample.error is None for sample in samples), samples
        spans.append(max(sample.latency for sample in samples))
    return statistics.median(spans), [sample.audio for sample in samples]


def run_round(
    url: str, pace: Pace, overhead: float, load: float, minutes: float, seed: int
) -> dict[str, Any]:
    """Predict and measure arrivals at `load`, or, for 0, `BURST` jobs at once.

    The throughput of a burst is the worker's; otherwise it is the rate of the arrivals.
    """
    busy = pace.of(SLOTS) / (SHORT + overhead) * 3600
    moments = [0.01 * number for number in range(BURST)]
    if load:
        moments = poisson(load * busy, 60 * minutes, seed)
    sizes = [SHORT] * len(moments)
    guess = Simulation(moments, sizes, pace, SLOTS, keep_workers(1), overhead).run()
    run = report(drive(ask_job_api(url, None, 600), moments, [SHORT], seed))
    assert not run["errors"], run["errors"]
    predicted = {
        "jobs_per_hour": 3600 * len(moments) / (guess.ends_at - moments[0]),
        "p95": guess.percentile(0.95),
    }
    measured = {"jobs_per_hour": run["jobs_per_hour"], "p95": run["latency"]["p95"]}
    ratios = {name: round(predicted[name] / measured[name], 3) for name in predicted}
    return {
        "load": load,
        "jobs": len(moments),
        "predicted": {name: round(value, 3) for name, value in predicted.items()},
        "measured": measured,
        "predicted_over_measured": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=4.0, help="of arrivals in a round")
    parser.add_argument("--load", type=float, default=0.6, help="share of what the worker can do")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    settings = {
        "MUSICGEN_SLOTS": SLOTS,
        "MUSICGEN_RATE_LIMIT": "100000/minute",
        "MUSICGEN_JOBS_PER_KEY": 1000,
    }
    with data_folder() as folder, job_server(folder, **settings) as server:
        for seconds in (SHORT, LONG):
            _measure_end(server.url, 2, [seconds])  # warms up
        pace, overhead = calibrate(server.url)
        line = f"pace {dict(pace.measured)}, overhead {overhead:.2f} s of audio"
        sys.stderr.write(f"{time.strftime('%X')} {line}\n")
        rounds = []
        for seed, load in enumerate([*[options.load] * options.rounds, 0.0]):
            rounds.append(run_round(server.url, pace, overhead, load, options.minutes, seed))
            sys.stderr.write(f"{time.strftime('%X')} {rounds[-1]}\n")
    ratios = {
        name: statistics.median(entry["predicted_over_measured"][name] for entry in rounds)
        for name in ("jobs_per_hour", "p95")
    }
    text = json.dumps(
        {
            "name": "plan_check",
            "ratios": ratios,
            "pace": dict(pace.measured),
            "overhead": round(overhead, 3),
            "rounds": rounds,
        }
    )
    if options.save is not None:
        options.save.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
