"""`musicgen plan`: workers and costs for a workload."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handlers.cli.options import EXIT_FAILED, Commands
from musicgen.capacity.plan import PRICES, Assessment, Workload, assess, cheapest, offers
from musicgen.capacity.throughput import EFFICIENCY, READ_GB, Pace, estimate, from_bench
from musicgen.errors import SettingsError
from musicgen.settings import Settings


def add(commands: Commands) -> None:
    """Add the command `plan`."""
    parser = commands.add_parser(
        "plan",
        help="estimate workers and costs for a workload on each platform",
        description=f"Simulates Poisson arrivals, with the prices of {PRICES['read']} (sources in "
        "musicgen/capacity/prices.json). Throughput is a measurement of bench/serve.py on your "
        "GPU, or a marked estimate.",
    )
    parser.add_argument("--jobs-per-hour", type=float, required=True, metavar="N")
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds of audio of each job")
    parser.add_argument(
        "--p95", type=float, default=60.0, help="latency target in seconds for 95 %% of the jobs"
    )
    parser.add_argument("--model", default="small", help=f"{' or '.join(READ_GB)}, for estimates")
    parser.add_argument("--gpu", help="only offers with this GPU")
    parser.add_argument("--slots", type=int, default=8, help="concurrent jobs of a worker")
    parser.add_argument("--cold-start", type=float, default=30.0, help="seconds to start a worker")
    parser.add_argument(
        "--throughput", type=Path, help="a result file of bench/serve.py --save; needs --gpu"
    )
    parser.add_argument("--contestant", help="name in that file, such as 'musicgen bfloat16'")
    parser.set_defaults(run=_plan)


def _plan(options: argparse.Namespace, _: Settings) -> int:
    for name in ("jobs_per_hour", "seconds", "p95", "slots"):
        if not getattr(options, name) > 0:
            option = f"--{name.replace('_', '-')}"
            raise SettingsError(option, "must be above 0", value=getattr(options, name))
    bandwidths = PRICES["bandwidth_gb_per_second"]
    if options.gpu is not None and options.gpu not in bandwidths:
        raise SettingsError("--gpu", f"must be one of {', '.join(bandwidths)}", value=options.gpu)
    if options.throughput is not None and options.gpu is None:
        raise SettingsError("--throughput", "needs --gpu, the GPU of the measurement")
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
