"""`python -m infra.loadtest`: drives a deployment at a given rate and reports percentiles.

    python -m infra.loadtest --server http://127.0.0.1:8000 --jobs-per-hour 600 --minutes 5
    python -m infra.loadtest --target runpod --name ENDPOINT_ID --jobs-per-hour 60 --max-jobs 20

The last line is one JSON object. On a platform every job costs money: --max-jobs is an upper bound
that has to be given there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from infra.loadtest.drive import drive, poisson, report
from infra.loadtest.targets import deployment, job_api
from musicgen.settings.job_api import api_key


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--server", help="address of a job API; MUSICGEN_API_KEY is its key")
    where.add_argument("--target", help="replicate, runpod, hf, or the URL of a container")
    parser.add_argument("--name", help="of the deployment on the platform")
    parser.add_argument("--jobs-per-hour", type=float, required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--durations", type=float, nargs="+", default=[5.0, 10.0, 30.0])
    parser.add_argument("--max-jobs", type=int, help="never more; needed with --target")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one job")
    parser.add_argument("--seed", type=int, default=0, help="of the arrivals")
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    options = parser.parse_args()
    if options.jobs_per_hour <= 0 or options.minutes <= 0 or min(options.durations) <= 0:
        parser.error("--jobs-per-hour, --minutes and --durations must be more than 0")
    if options.target and options.max_jobs is None:
        parser.error("--target needs --max-jobs: every job there costs money")
    moments = poisson(options.jobs_per_hour, 60 * options.minutes, options.seed)
    moments = moments[: options.max_jobs]
    if options.server:
        ask = job_api(options.server, api_key(), options.timeout)
    else:
        ask = deployment(options.target, options.name, options.timeout)
    sys.stderr.write(f"{len(moments)} jobs in {options.minutes:g} minutes\n")
    found = {"name": "loadtest", **report(drive(ask, moments, options.durations, options.seed))}
    text = json.dumps(found)
    if options.output is not None:
        options.output.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return 1 if found["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
