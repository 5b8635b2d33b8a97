"""The planner's simulation beside a real run of the job API on this machine.

    python bench/plan_check.py [--minutes 4] [--load 0.6] [--rounds 3]

Starts `musicgen serve all` with the demo model, one worker of two slots. First measures what the
simulation takes: how long a job takes alone, and two side by side. Then predicts, for arrivals that
are drawn anew in each round, and drives the server with the same arrivals. Compares throughput and
the 95th percentile of the latency. The last line is one JSON object; above 1 the prediction is more
than what was measured.
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
from infra.loadtest.targets import job_api
from musicgen.planning.pace import Pace
from musicgen.planning.simulate import Simulation, fixed
from tests.support.job_server import data_folder, job_server

SLOTS, SHORT, LONG, REPEATS = 2, 10.0, 30.0, 4


def calibrated(url: str) -> tuple[Pace, float]:
    """The pace with one job and with two, and what a job costs beside its audio, in seconds of it.

    Alone, a job of `SHORT` and one of `LONG` seconds differ by the pace; the rest is overhead.
    """
    alone = {seconds: _together(url, 1, seconds) for seconds in (SHORT, LONG)}
    pace = (LONG - SHORT) / (alone[LONG] - alone[SHORT])
    overhead = max(0.0, alone[SHORT] * pace - SHORT)
    pair = 2 * (SHORT + overhead) / _together(url, 2, SHORT)
    return Pace(((1, pace), (2, max(pair, pace))), "measured before"), overhead


def _together(url: str, jobs: int, seconds: float) -> float:
    """Seconds until the last of `jobs` submitted at once has ended; the median of several."""
    spans = []
    for repeat in range(REPEATS):
        samples = drive(job_api(url, None, 300), [0.0] * jobs, [seconds], repeat)
        assert all(each.error is None for each in samples), samples
        spans.append(max(each.latency for each in samples))
    return statistics.median(spans)


def one_round(
    url: str, pace: Pace, overhead: float, load: float, minutes: float, seed: int
) -> dict[str, Any]:
    busy = pace.of(SLOTS) / (SHORT + overhead) * 3600
    moments = poisson(load * busy, 60 * minutes, seed)
    sizes = [SHORT] * len(moments)
    guess = Simulation(moments, sizes, pace, SLOTS, fixed(1), overhead).run()
    found = report(drive(job_api(url, None, 600), moments, [SHORT], seed))
    assert not found["errors"], found["errors"]
    predicted = {
        "jobs_per_hour": 3600 * len(moments) / (guess.ends_at - moments[0]),
        "p95": guess.percentile(0.95),
    }
    measured = {"jobs_per_hour": found["jobs_per_hour"], "p95": found["latency"]["p95"]}
    ratios = {name: round(predicted[name] / measured[name], 3) for name in predicted}
    return {
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
            _together(server.url, 1, seconds)  # warms up
        pace, overhead = calibrated(server.url)
        told = f"pace {dict(pace.measured)}, overhead {overhead:.2f} s of audio"
        sys.stderr.write(f"{time.strftime('%X')} {told}\n")
        rounds = []
        for seed in range(options.rounds):
            rounds.append(
                one_round(server.url, pace, overhead, options.load, options.minutes, seed)
            )
            sys.stderr.write(f"{time.strftime('%X')} {rounds[-1]}\n")
    ratios = {
        name: statistics.median(each["predicted_over_measured"][name] for each in rounds)
        for name in ("jobs_per_hour", "p95")
    }
    text = json.dumps(
        {
            "name": "plan_check",
            "ratios": ratios,
            "load": options.load,
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
