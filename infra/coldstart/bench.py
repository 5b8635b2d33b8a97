"""Cold starts of this project's Cog worker beside those of a naive one, server included.

    musicgen pack small -o packed --form native-bfloat16
    python -m infra.coldstart.bench --checkpoint FOLDER --packed packed/small.native-bfloat16.packed

The naive worker (infra/coldstart/naive) imports transformers and calls `from_pretrained` in setup,
in the same precision and on the same weights. Starts alternate, first one then the other, with the
page cache cold (dropped before each start) and warm (weights read, packages used by a start that is
not counted). Ratios are of pairs that ran one after the other: above 1, the naive one takes longer.
No start is left out. The last line is one JSON object.
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
from infra.coldstart.results import add_save, tell
from infra.coldstart.servers import Start, naive, ours, start_once
from musicgen.checkpoints.packed.format import read_header
from musicgen.process.resources import cpu_quota

AUDIO_SECONDS = 0.5
MEASURES = ("ready", "first_audio", "cpu")


def pairs_of(
    cold: bool, count: int, contestants: dict[str, Callable[[], Start]], files: list[Path]
) -> tuple[dict[str, list[Start]], str]:
    """`count` starts of each, in turn; and how the cache was made what it is."""
    starts: dict[str, list[Start]] = {name: [] for name in contestants}
    how = "read before"
    if not cold:
        make_warm(files)
        for start in contestants.values():
            start()
    for number in range(count):
        for name, start in contestants.items():
            if cold:
                how = make_cold(files)
            starts[name].append(start())
            shown = starts[name][-1]
            state = "cold" if cold else "warm"
            sys.stderr.write(
                f"{state} {number + 1}/{count} {name}: ready {shown.ready:.2f} s, "
                f"first audio {shown.first_audio:.2f} s\n"
            )
    return starts, how


def summary(starts: dict[str, list[Start]]) -> dict[str, Any]:
    """Medians, extremes and the ratios of the pairs."""
    found: dict[str, Any] = {
        "runs": {n: [s.to_mapping() for s in each] for n, each in starts.items()}
    }
    for measure in MEASURES:
        values = {name: [getattr(s, measure) for s in each] for name, each in starts.items()}
        ratios = [theirs / own for own, theirs in zip(*values.values(), strict=True)]
        found[measure] = {
            name: {"median": statistics.median(each), "min": min(each), "max": max(each)}
            for name, each in values.items()
        } | {"ratio": statistics.median(ratios), "ratios": ratios}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="in Hugging Face format")
    parser.add_argument("--packed", type=Path, required=True, help="by musicgen pack, of the same")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--states", nargs="+", choices=("cold", "warm"), default=["cold", "warm"])
    parser.add_argument("--seconds", type=float, default=AUDIO_SECONDS, help="of the first clip")
    add_save(parser)
    options = parser.parse_args()
    precision = read_header(options.packed)[1].form.partition("-")[2]
    peers = {
        "musicgen": ours(str(options.packed.resolve()), precision),
        "naive": naive(
            options.checkpoint.resolve(), "bfloat16" if precision == "int8" else precision
        ),
    }
    contestants = {
        name: lambda peer=peer: start_once(*peer, options.seconds) for name, peer in peers.items()
    }
    files = [*files_of(options.checkpoint), *files_of(options.packed)]
    result: dict[str, Any] = {
        "name": "coldstart",
        "machine": machine("cpu", cpu_quota()),
        "model": options.checkpoint.name,
        "precision": precision,
        "seconds_of_audio": options.seconds,
        "bytes": {"musicgen": options.packed.stat().st_size}
        | {"naive": sum(path.stat().st_size for path in files_of(options.checkpoint))},
        "pairs": options.pairs,
    }
    for state in options.states:
        starts, how = pairs_of(state == "cold", options.pairs, contestants, files)
        result[state] = {"cache": how, **summary(starts)}
    result["ratios"] = {
        f"{state} {measure}": result[state][measure]["ratio"]
        for state in options.states
        for measure in MEASURES
    }
    tell(result, options)


if __name__ == "__main__":
    main()
