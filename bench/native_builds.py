"""Compare builds of the native library in one process, with the same weights in the same memory.

    python bench/native_builds.py --packed small.packed _step.so other/_step.so

Other machines share the memory, and its bandwidth may double from one second to the next. Two
processes then differ by more than two builds do. Here every build generates a clip in turn, and the
order changes from round to round. Before and after each clip, memory is read with all threads.
`--split 45` adds the figures of the rounds in which all reads stayed below or above 45 GB/s.

A ratio is the first build's time of a step over another's, the median of rounds: above 1, the other
is faster. "share of the median read" is the time to read a step's weights and cache at the median
bandwidth, over the median step. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import torch

from bench.contestants import GUIDANCE, PROMPT, TOP_K
from bench.decode import machine
from bench.roofline import bytes_of_step
from musicgen.checkpoints.packed.format import precision_of
from musicgen.checkpoints.packed.reader import PackFile
from musicgen.checkpoints.packed.select import config_of
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row, run_to_end
from musicgen.engine.native.backend import NativeBackend
from musicgen.model.native.huge_pages import reserve_huge_pages
from musicgen.model.native.library import Library
from musicgen.model.tokenizer import build_tokenizer
from musicgen.process.resources import cpu_quota
from musicgen.request import SamplingParams

EVERY_STEP = ("decoder.layers.", "decoder.heads.")
"""Beginnings of the names of weights that every step reads."""
READ_FLOATS = 1 << 26
WARM_UP = 30


def read_arrays(pack: PackFile, huge: bool) -> dict[str, Any]:
    """Return the weights; what every step reads lies in huge pages, unless they are refused."""
    arrays = {name: pack[name] for name in pack.names()}
    every_step = [name for name in arrays if name.startswith(EVERY_STEP)]
    sizes = {name: -(-arrays[name].nbytes // 64) * 64 for name in every_step}
    memory = reserve_huge_pages(sum(sizes.values())) if huge else None
    if memory is None:
        return arrays
    at = 0
    for name, size in sizes.items():
        array = arrays[name]
        moved = memory[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
        moved[...] = array
        arrays[name], at = moved, at + size
    return arrays


def load_builds(options: argparse.Namespace, pack: PackFile) -> dict[str, MusicGenEngine]:
    """Return an engine for each build."""
    arrays = read_arrays(pack, not options.small_pages)
    config, precision = config_of(pack), precision_of(pack.manifest.form)
    engines = {}
    for path in options.builds:
        library = Library(path.resolve())
        library.threads = options.threads
        tokenize = build_tokenizer(pack.read, pack.path)
        backend = NativeBackend(library, config, arrays, tokenize, precision)
        engines[str(path)] = MusicGenEngine(backend, rows=max(2, 2 * options.callers))
    return engines


def time_step(engine: MusicGenEngine, seed: int, callers: int, frames: int) -> float:
    """Return the seconds of a step, the mean over guided clips of `frames`."""
    sampling = SamplingParams(1.0, TOP_K, 0.0, GUIDANCE)
    rows = tuple(Row(PROMPT, seed + i, sampling) for i in range(callers))
    output = run_to_end(engine.generate(GenerationJob(rows, frames)))
    return output.timings.decode / output.steps


def read_memory(data: torch.Tensor) -> float:
    """Return the bytes a second of the median of three reads with all threads."""
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        data.sum().item()
        rates.append(data.nbytes / (time.perf_counter() - started))
    return statistics.median(rates)


class Round(NamedTuple):
    """One clip of every build, and the bandwidths measured around them."""

    seconds: dict[str, float]
    reads: list[float]


def measure_round(
    engines: dict[str, MusicGenEngine], data: torch.Tensor, seed: int, options: argparse.Namespace
) -> Round:
    seconds, reads = {}, [read_memory(data)]
    for build in list(engines)[:: 1 if seed % 2 else -1]:
        seconds[build] = time_step(engines[build], seed, options.callers, options.frames)
        reads.append(read_memory(data))
    return Round(seconds, reads)


def summarize(rounds: list[Round], builds: list[str], needed: float) -> dict[str, Any]:
    """Return the medians of these rounds, whose steps need to read `needed` bytes."""
    bandwidth = statistics.median(read for each in rounds for read in each.reads)
    figures = {}
    for build in builds:
        own = statistics.median(each.seconds[build] for each in rounds)
        ratios = [each.seconds[builds[0]] / each.seconds[build] for each in rounds]
        figures[build] = {
            "step_ms": round(1000 * own, 3),
            "ratio": round(statistics.median(ratios), 3),
            "share_of_the_median_read": round(needed / bandwidth / own, 3),
        }
    return {
        "rounds": len(rounds),
        "median_read_gb_per_second": round(bandwidth / 1e9, 2),
        "builds": figures,
    }


def split_rounds(rounds: list[Round], limit: float) -> dict[str, list[Round]]:
    """Return the rounds whose reads all stayed on one side of `limit`, in bytes a second."""
    return {
        "slow_memory": [each for each in rounds if max(each.reads) < limit],
        "fast_memory": [each for each in rounds if min(each.reads) >= limit],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("builds", nargs="+", type=Path, metavar="SO", help="compiled libraries")
    parser.add_argument("--packed", type=Path, required=True, help="packed file of a native form")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--callers", type=int, default=1, help="clips made at once")
    parser.add_argument("--threads", type=int, default=cpu_quota())
    parser.add_argument(
        "--split", type=float, metavar="GB", help="GB/s between slow and fast memory"
    )
    parser.add_argument("--small-pages", action="store_true", help="leave the weights in the file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pack = PackFile(options.packed)
    pack.check()
    engines = load_builds(options, pack)
    for engine in engines.values():
        time_step(engine, 0, options.callers, WARM_UP)
    data = torch.ones(READ_FLOATS)
    rounds = [measure_round(engines, data, 1 + n, options) for n in range(options.rounds)]
    config, precision = config_of(pack), precision_of(pack.manifest.form)
    needed = bytes_of_step(
        config.decoder,
        precision,
        options.frames / 2,
        rows=2 * options.callers,
        cached_bytes=4 if precision == "float32" else 2,
    )
    report: dict[str, Any] = {
        "name": "native_builds",
        "machine": machine("cpu", options.threads),
        "form": pack.manifest.form,
        "frames": options.frames,
        "callers": options.callers,
        "small_pages": options.small_pages,
        **summarize(rounds, list(engines), needed),
    }
    for name, some in split_rounds(rounds, 1e9 * (options.split or 0)).items():
        if options.split is not None and some:
            report[name] = summarize(some, list(engines), needed)
    for build, figures in report["builds"].items():
        print(build, json.dumps(figures))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
