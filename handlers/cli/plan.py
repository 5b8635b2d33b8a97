"""`musicgen plan`: workers and money for a load."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handlers.cli.options import EXIT_FAILED, Commands
from musicgen.capacity.plan import PRICES, Answer, Load, answer, cheapest, offers
from musicgen.capacity.throughput import EFFICIENCY, Pace, estimated, from_bench
from musicgen.errors import SettingsError
from musicgen.settings import Settings


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "plan",
        help="workers and costs for a load, on each platform",
        description="Simulates Poisson arrivals. Prices are those of "
        f"{PRICES['read']}, in musicgen/capacity/prices.json with their sources. Throughput comes "
        "from what bench/serve.py measured on your GPU, or is an estimate and says so.",
    )
    parser.add_argument("--jobs-per-hour", type=float, required=True, metavar="N")
    parser.add_argument("--seconds", type=float, default=30.0, help="of audio, each job")
    parser.add_argument(
        "--p95", type=float, default=60.0, help="seconds that 95 %% of the jobs may take"
    )
    parser.add_argument("--model", default="small", help="small, medium or large, for estimates")
    parser.add_argument("--gpu", help="only offers with this one")
    parser.add_argument("--slots", type=int, default=8, help="jobs that a worker makes at once")
    parser.add_argument("--cold-start", type=float, default=30.0, help="seconds, of a worker")
    parser.add_argument(
        "--throughput", type=Path, help="what bench/serve.py --save wrote; with --gpu"
    )
    parser.add_argument("--contestant", help="of that file, such as 'musicgen bfloat16'")
    parser.set_defaults(run=_plan)


def _plan(options: argparse.Namespace, _: Settings) -> int:
    for name in ("jobs_per_hour", "seconds", "p95", "slots"):
        if not getattr(options, name) > 0:
            option = f"--{name.replace('_', '-')}"
            raise SettingsError(option, str(getattr(options, name)), "more than 0")
    known = PRICES["bandwidth_gb_per_second"]
    if options.gpu is not None and options.gpu not in known:
        raise SettingsError("--gpu", options.gpu, f"one of {', '.join(known)}")
    if options.throughput is not None and options.gpu is None:
        raise SettingsError("--throughput", str(options.throughput), "--gpu too: whose is it?")
    load = Load(
        options.jobs_per_hour, options.seconds, options.p95, options.slots, options.cold_start
    )
    chosen = [each for each in offers() if options.gpu in (None, each.gpu)]
    answers = [answer(load, offer, _pace(options, offer.gpu, known)) for offer in chosen]
    _tell(answers)
    return 0 if cheapest(answers) else EXIT_FAILED


def _pace(options: argparse.Namespace, gpu: str, bandwidths: dict[str, float]) -> Pace:
    if options.throughput is not None:
        return from_bench(options.throughput, options.contestant)
    return estimated(options.model, gpu, bandwidths[gpu])


def _tell(answers: list[Answer]) -> None:
    write = sys.stdout.write
    write("USD for a minute of audio\n")
    write(f"{'platform':11} {'GPU':10} workers   p95 s  always on  serverless  p95 s  cold  ")
    write("break-even jobs/h\n")
    for each in sorted(answers, key=lambda a: min(a.always_on, a.serverless)):
        replicas = "none" if each.replicas is None else str(each.replicas)
        even = "never" if each.break_even is None else f"{each.break_even:.0f}"
        write(
            f"{each.offer.platform:11} {each.offer.gpu:10} {replicas:>7} {each.p95:7.1f} "
            f"{each.always_on:10.5f} {each.serverless:11.5f} {each.serverless_p95:6.1f} "
            f"{each.cold_share:5.1%} {even:>18}\n"
        )
    best = cheapest(answers)
    if best is None:
        write("No number of workers keeps that: a faster GPU, a smaller model, a longer --p95.\n")
        return
    way = "always on" if best.always_on <= best.serverless else "serverless"
    write(f"\nCheapest: {best.offer.platform}, {best.offer.gpu}, {way}.\n")
    if any(each.pace.is_estimate for each in answers):
        write(
            f"Throughput is an estimate: {EFFICIENCY:.0%} of each GPU's memory bandwidth, not "
            "measured.\nMeasure yours with `make bench-gpu` and give the file with --throughput.\n"
        )
    write(f"Prices of {PRICES['read']}:\n")
    for platform, source in PRICES["sources"].items():
        write(f"  {platform}: {source}; {PRICES['notes'][platform]}\n")
