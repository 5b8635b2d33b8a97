"""`musicgen plan`: workers and costs for a workload."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handlers.cli.options import Commands, build_number
from handlers.cli.statuses import EXIT_FAILED
from musicgen.capacity.plan import PRICES, Assessment, Workload, assess, cheapest, offers
from musicgen.capacity.throughput import EFFICIENCY, READ_GB, Pace, estimate, from_bench
from musicgen.errors import InvalidRequest
from musicgen.request.limits import DURATION_MAX_SECONDS, DURATION_MIN_SECONDS
from musicgen.settings import Settings

JOBS_MAX, SLOTS_MAX, SECONDS_MAX = 1_000_000, 256, 86_400


def add(commands: Commands) -> None:
    """Add the command `plan`."""
    parser = commands.add_parser(
        "plan",
        help="estimate workers and costs for a workload on each platform",
        description=f"Simulates Poisson arrivals, with the prices of {PRICES['read']} (sources in "
        "musicgen/capacity/prices.json). Throughput is a measurement of bench/serve.py on your "
        "GPU, or a marked estimate.",
    )
    add = parser.add_argument
    jobs = build_number(float, 0, JOBS_MAX, above=True)
    add("--jobs-per-hour", type=jobs, required=True, metavar="N", help="jobs to plan for")
    audio = build_number(float, DURATION_MIN_SECONDS, DURATION_MAX_SECONDS)
    add("--seconds", type=audio, default=30.0, metavar="S", help="audio of each job (default: 30)")
    seconds = build_number(float, 0, SECONDS_MAX, above=True)
    add(
        *("--p95",),
        type=seconds,
        default=60.0,
        metavar="S",
        help="target for 95 %% of the jobs, from submission to the clip (default: 60)",
    )
    models = f"{', '.join(READ_GB)}, for estimates (default: %(default)s)"
    add("--model", default="small", metavar="NAME", help=models)
    add("--gpu", metavar="NAME", help="only offers with this GPU")
    slots = build_number(int, 1, SLOTS_MAX)
    add(
        "--slots",
        type=slots,
        default=8,
        metavar="N",
        help="concurrent jobs of a worker (default: 8)",
    )
    add(
        *("--cold-start",),
        type=build_number(float, 0, SECONDS_MAX),
        default=30.0,
        metavar="S",
        help="time to start a worker (default: 30)",
    )
    result = "a result file of bench/serve.py --save; needs --gpu"
    add("--throughput", type=Path, metavar="FILE", help=result)
    add("--contestant", metavar="NAME", help="one in that file, such as 'musicgen bfloat16'")
    parser.set_defaults(run=_plan)


def _plan(options: argparse.Namespace, _: Settings) -> int:
    bandwidths = PRICES["bandwidth_gb_per_second"]
    if options.gpu is not None and options.gpu not in bandwidths:
        raise InvalidRequest("--gpu", f"must be one of {', '.join(bandwidths)}", value=options.gpu)
    if options.throughput is not None and options.gpu is None:
        raise InvalidRequest("--throughput", "needs --gpu, the GPU of the measurement")
    if options.contestant is not None and options.throughput is None:
        raise InvalidRequest("--contestant", "needs --throughput, the file that has it")
    load = Workload(
        options.jobs_per_hour, options.seconds, options.p95, options.slots, options.cold_start
    )
    suitable = [offer for offer in offers() if options.gpu in (None, offer.gpu)]
    answers = [assess(load, offer, _pace(options, offer.gpu, bandwidths)) for offer in suitable]
    _tell(answers)
    return 0 if cheapest(answers) else EXIT_FAILED


def _pace(options: argparse.Namespace, gpu: str, bandwidths: dict[str, float]) -> Pace:
    if options.throughput is not None:
        return from_bench(options.throughput, options.contestant)
    return estimate(options.model, gpu, bandwidths[gpu])


def _tell(answers: list[Assessment]) -> None:
    write = sys.stdout.write
    write("USD for a minute of audio\n")
    write(f"{'platform':11} {'GPU':10} workers   p95 s  always on  serverless  p95 s  cold  ")
    write("break-even jobs/h\n")
    for plan in sorted(answers, key=lambda a: min(a.always_on, a.serverless)):
        replicas = "none" if plan.replicas is None else str(plan.replicas)
        even = "never" if plan.break_even is None else f"{plan.break_even:.0f}"
        write(
            f"{plan.offer.platform:11} {plan.offer.gpu:10} {replicas:>7} {plan.p95:7.1f} "
            f"{plan.always_on:10.5f} {plan.serverless:11.5f} {plan.serverless_p95:6.1f} "
            f"{plan.cold_share:5.1%} {even:>18}\n"
        )
    best = cheapest(answers)
    if best is None:
        write(
            "No number of workers reaches the target. Choose a faster GPU, a smaller model or a "
            "longer --p95.\n"
        )
        return
    way = "always on" if best.always_on <= best.serverless else "serverless"
    write(f"\nCheapest: {best.offer.platform}, {best.offer.gpu}, {way}.\n")
    if any(answer.pace.is_estimate for answer in answers):
        write(
            f"Throughput is an estimate: {EFFICIENCY:.0%} of each GPU's memory bandwidth, not "
            "measured.\nMeasure yours with `make bench-gpu` and pass the file with --throughput.\n"
        )
    write(f"Prices of {PRICES['read']}:\n")
    for platform, source in PRICES["sources"].items():
        write(f"  {platform}: {source}; {PRICES['notes'][platform]}\n")
