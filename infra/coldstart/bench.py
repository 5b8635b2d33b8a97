"""Compare cold starts of this project's Cog worker and of a naive one, server included.

    musicgen pack small -o packed --form native-bfloat16
    python -m infra.coldstart.bench --checkpoint FOLDER --packed packed/small.native-bfloat16.packed

The naive worker (infra/coldstart/naive) imports transformers and calls `from_pretrained` in setup,
in the same precision and on the same weights. `--before CHECKOUT` adds an earlier revision of this
project with these packages: a folder of `git worktree add`, with its native library compiled there.
`--before-packed FILE` is its packed file, for a revision with another format. All have bytecode, as
in an image. Starts alternate between the workers. In the state `cold`, the page cache is dropped
before each start. In the state `warm`, it has the weights, and the packages from one start before
the measurement. Ratios are of consecutive starts: above 1, the other worker takes longer. Every
start counts. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.decode import machine
from infra.coldstart.caches import files_of, make_cold, make_warm
from infra.coldstart.results import add_save, write_result
from infra.coldstart.servers import Start, build_naive, build_ours, start_once
from musicgen.checkpoints.packed.format import read_header
from musicgen.process.resources import cpu_quota

AUDIO_SECONDS = 0.5
MEASURES = ("ready", "first_audio", "cpu")
BEFORE = "before"


def pairs_of(
    cold: bool, count: int, contestants: dict[str, Callable[[], Start]], files: list[Path]
) -> tuple[dict[str, list[Start]], str]:
    """Run `count` starts of each contestant in turn; also return the method of the cache."""
    starts: dict[str, list[Start]] = {name: [] for name in contestants}
    cache = "weights read before"
    if not cold:
        make_warm(files)
        for start in contestants.values():
            start()
    for number in range(count):
        for name, start in contestants.items():
            if cold:
                cache = make_cold(files)
            starts[name].append(start())
            latest = starts[name][-1]
            state = "cold" if cold else "warm"
            sys.stderr.write(
                f"{state} {number + 1}/{count} {name}: ready {latest.ready:.2f} s, "
                f"first audio {latest.first_audio:.2f} s\n"
            )
    return starts, cache


def summarize(starts: dict[str, list[Start]]) -> dict[str, Any]:
    """Return the runs, their medians and extremes, and the ratios of the pairs."""
    summary: dict[str, Any] = {
        "runs": {name: [run.to_mapping() for run in runs] for name, runs in starts.items()}
    }
    for measure in MEASURES:
        values = {name: [getattr(run, measure) for run in runs] for name, runs in starts.items()}
        summary[measure] = {
            name: {"median": statistics.median(times), "min": min(times), "max": max(times)}
            for name, times in values.items()
        }
        for name, prefix in (("naive", ""), (BEFORE, "before_")):
            if name in values:
                pairs = zip(values["musicgen"], values[name], strict=True)
                ratios = [theirs / own for own, theirs in pairs]
                summary[measure][f"{prefix}ratio"] = statistics.median(ratios)
                summary[measure][f"{prefix}ratios"] = ratios
    return summary


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.coldstart.bench", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="in Hugging Face format")
    parser.add_argument(
        "--packed", type=Path, required=True, help="the same checkpoint, from musicgen pack"
    )
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="an earlier revision")
    parser.add_argument(
        "--before-packed", type=Path, metavar="FILE", help="(default: that of --packed)"
    )
    parser.add_argument("--pairs", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--states", nargs="+", choices=("cold", "warm"), default=["cold", "warm"])
    parser.add_argument(
        "--seconds", type=float, default=AUDIO_SECONDS, help="duration of the first clip"
    )
    add_save(parser)
    return parser


def _build_contestants(options: argparse.Namespace) -> dict[str, Callable[[], Start]]:
    """Return a function for each contestant, to start it once."""
    precision = _read_precision(options.packed)
    peers = {
        "musicgen": build_ours(str(options.packed.resolve()), precision),
        "naive": build_naive(
            options.checkpoint.resolve(), "bfloat16" if precision.startswith("int") else precision
        ),
    }
    if options.before is not None:
        packed = (options.before_packed or options.packed).resolve()
        peers[BEFORE] = build_ours(str(packed), precision, options.before)
    return {
        name: lambda peer=peer: start_once(*peer, options.seconds) for name, peer in peers.items()
    }


def _read_precision(packed: Path) -> str:
    return read_header(packed)[1].form.partition("-")[2]


def main() -> None:
    """Run the command line."""
    options = _build_parser().parse_args()
    contestants = _build_contestants(options)
    files = [*files_of(options.checkpoint), *files_of(options.packed)]
    result: dict[str, Any] = {
        "name": "coldstart",
        "machine": machine("cpu", cpu_quota()),
        "model": options.checkpoint.name,
        "precision": _read_precision(options.packed),
        "seconds_of_audio": options.seconds,
        "bytes": {"musicgen": options.packed.stat().st_size}
        | {"naive": sum(path.stat().st_size for path in files_of(options.checkpoint))},
        "pairs": options.pairs,
    }
    for state in options.states:
        starts, cache = pairs_of(state == "cold", options.pairs, contestants, files)
        result[state] = {"cache": cache, **summarize(starts)}
    result["ratios"] = {
        f"{state} {measure}": result[state][measure]["ratio"]
        for state in options.states
        for measure in MEASURES
    }
    write_result(result, options)


if __name__ == "__main__":
    main()
