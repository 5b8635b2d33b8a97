"""`python -m infra.loadtest`: Send jobs to a deployment at a given rate and report percentiles.

    python -m infra.loadtest --server http://127.0.0.1:8000 --jobs-per-hour 600 --minutes 5
    python -m infra.loadtest --target runpod --name ENDPOINT_ID --jobs-per-hour 60 --max-jobs 20

The last line is one JSON object. Every job on a platform costs money, so --target needs --max-jobs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

from infra.loadtest.drive import drive, poisson, report
from infra.loadtest.targets import ask_job_api, ask_platform
from musicgen.errors.counts import format_count
from musicgen.settings.job_api import ClientSettings


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.loadtest",
        description=(__doc__ or "").splitlines()[0].partition(": ")[2],
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--server", help="address of a job API; MUSICGEN_API_KEY is its key")
    where.add_argument("--target", help="replicate, runpod, hf, or the URL of a container")
    parser.add_argument("--name", help="name of the deployment on the platform")
    parser.add_argument("--jobs-per-hour", type=float, required=True, help="mean rate of arrivals")
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="length of the test (default: %(default)s)"
    )
    parser.add_argument(
        "--durations",
        type=float,
        nargs="+",
        default=[5.0, 10.0, 30.0],
        metavar="SECONDS",
        help="durations of the clips, chosen at random (default: 5 10 30)",
    )
    parser.add_argument("--max-jobs", type=int, help="most jobs to send; required with --target")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one job")
    parser.add_argument("--seed", type=int, default=0, help="seed of the arrivals and the jobs")
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    return parser


def _find_problem(options: argparse.Namespace) -> str | None:
    """Return the problem of the options, or None."""
    numbers = (options.jobs_per_hour, options.minutes, options.timeout, *options.durations)
    if not all(0 < number < math.inf for number in numbers):
        return "--jobs-per-hour, --minutes, --durations and --timeout must be positive and finite"
    if options.target and options.max_jobs is None:
        return "--target needs --max-jobs, because every job on a platform costs money"
    if options.max_jobs is not None and options.max_jobs < 1:
        return "--max-jobs must be at least 1"
    return None


def main() -> int:
    """Run the command line and return its exit status: 1 for a failed job, 2 for wrong options."""
    parser = _build_parser()
    options = parser.parse_args()
    if problem := _find_problem(options):
        parser.error(problem)
    moments = poisson(options.jobs_per_hour, 60 * options.minutes, options.seed)
    moments = moments[: options.max_jobs]
    if options.server:
        ask = ask_job_api(options.server, ClientSettings.from_env().api_key, options.timeout)
    else:
        ask = ask_platform(options.target, options.name, options.timeout)
    jobs, minutes = format_count(len(moments), "job"), format_count(options.minutes, "minute")
    sys.stderr.write(f"{jobs} in {minutes}\n")
    result = {"name": "loadtest", **report(drive(ask, moments, options.durations, options.seed))}
    text = json.dumps(result)
    if options.output is not None:
        options.output.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return 1 if result["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
