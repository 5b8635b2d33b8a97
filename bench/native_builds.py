"""Compare builds of the native library step by step, with the same weights in the same memory.

    python bench/native_builds.py --packed small.packed _step.so other/_step.so
    python bench/native_builds.py --packed small.packed --small-caches _step.so
    python bench/native_builds.py --packed small.packed --caches int8 bfloat16 _step.so

Other machines share the memory, and its bandwidth may double from one second to the next. Two
processes then differ by more than two builds do. Here each contestant generates the same clips with
keys and values of its own, and all run one step in turn, in an order drawn anew each time. Between
these turns, all threads read as many bytes as a step does. `--small-caches` adds each build again,
with keys and values in pages of 4 kB; `--caches` runs each build with these formats of keys and
values. `--split 45` adds the figures of the turns beside reads below
45 GB/s, and of those beside faster reads.

A ratio is the first contestant's time of a step over another's, the median of all turns with its
interval of 95 %: above 1, the other is faster. "share of the read" is the time of the reads beside
a turn over that of the step, the median. At 1, a step takes no longer than to read its weights and
its cache. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

# Threads of OpenMP that spin after a read would take a processor from the next step.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from bench.contestants import GUIDANCE, PROMPT, TOP_K
from bench.decode import machine
from bench.roofline import INT8_CACHE_BYTES, bytes_of_step
from musicgen.checkpoints.packed.format import precision_of
from musicgen.checkpoints.packed.reader import PackFile
from musicgen.checkpoints.packed.select import config_of
from musicgen.engine.interface import Row
from musicgen.engine.native.backend import NativeBackend, NativeWindow
from musicgen.model.native import kv_cache
from musicgen.model.native.draws import NumpyDraws
from musicgen.model.native.huge_pages import reserve_huge_pages
from musicgen.model.native.kv_cache import BFLOAT16_FORM, FLOAT32_FORM, INT8_FORM
from musicgen.model.native.library import Library
from musicgen.model.tokenizer import build_tokenizer
from musicgen.process.resources import cpu_quota
from musicgen.request import SamplingParams

EVERY_STEP = ("decoder.layers.", "decoder.heads.")
"""Beginnings of the names of weights that every step reads."""
CACHE_FORMS = {"int8": INT8_FORM, "bfloat16": BFLOAT16_FORM, "float32": FLOAT32_FORM}
CACHED_BYTES = {INT8_FORM: INT8_CACHE_BYTES, BFLOAT16_FORM: 2.0, FLOAT32_FORM: 4.0}
WARM_UP = 20
"""Steps at the beginning of a clip that do not count."""


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


class ComparedBuild(NamedTuple):
    """A build, and where its keys and values lie."""

    backend: NativeBackend
    has_small_caches: bool


class Turn(NamedTuple):
    """One step of every contestant, in seconds, between two reads of as many bytes, in bytes/s.

    `needed`: the bytes that each step reads; the reads are of the most.
    """

    steps: dict[str, float]
    needed: dict[str, float]
    reads: tuple[float, float]


def load_contestants(options: argparse.Namespace, pack: PackFile) -> dict[str, ComparedBuild]:
    """Return the contestants by name."""
    arrays = read_arrays(pack, not options.small_pages)
    config, precision = config_of(pack), precision_of(pack.manifest.form)
    contestants = {}
    for path in options.builds:
        library = Library(path.resolve())
        library.threads = options.threads
        tokenize = build_tokenizer(pack.read, pack.path)
        for cache in options.caches or [None]:
            form = None if cache is None else CACHE_FORMS[cache]
            backend = NativeBackend(library, config, arrays, tokenize, precision, form)
            name = str(path) if cache is None else f"{path}, {cache} cache"
            contestants[name] = ComparedBuild(backend, False)
            if options.small_caches:
                contestants[f"{name}, small caches"] = ComparedBuild(backend, True)
    return contestants


def start_clips(contestant: ComparedBuild, seed: int, options: argparse.Namespace) -> NativeWindow:
    """Return the window of new clips before its first step."""
    backend = contestant.backend
    sampling = SamplingParams(1.0, TOP_K, 0.0, GUIDANCE)
    rows = [Row(PROMPT, seed + i, sampling) for i in range(options.callers)]
    known = np.zeros((len(rows), backend.config.decoder.codebooks, 0), np.int64)
    conditioning = backend.build_conditioning(rows, None)
    draws = NumpyDraws([row.seed for row in rows])
    least = kv_cache.LEAST_BYTES
    kv_cache.LEAST_BYTES = sys.maxsize if contestant.has_small_caches else least
    try:
        window = backend.start_window(rows, options.frames, conditioning, known, draws)
    finally:
        kv_cache.LEAST_BYTES = least
    window.prefill()
    return window


def read_memory(data: torch.Tensor, size: float) -> float:
    """Read `size` bytes with all threads; return the bytes a second."""
    part = data[: int(size) // data.itemsize]
    started = time.perf_counter()
    part.sum().item()
    return part.nbytes / (time.perf_counter() - started)


def run_turns(
    contestants: dict[str, ComparedBuild], data: torch.Tensor, options: argparse.Namespace
) -> Iterator[Turn]:
    """Run `options.clips` clips of every contestant in turn."""
    for clip in range(options.clips):
        windows = {name: start_clips(each, clip, options) for name, each in contestants.items()}
        for step in range(next(iter(windows.values())).total_steps - 1):
            needed = {n: count_bytes(options, c.backend, step) for n, c in contestants.items()}
            before, steps = read_memory(data, max(needed.values())), {}
            for name in random.sample(list(windows), len(windows)):
                started = time.perf_counter()
                contestants[name].backend.step([windows[name]])
                steps[name] = time.perf_counter() - started
            steps = {name: steps[name] for name in windows}
            turn = Turn(steps, needed, (before, read_memory(data, max(needed.values()))))
            if step >= WARM_UP:
                yield turn


def count_bytes(options: argparse.Namespace, backend: NativeBackend, step: int) -> float:
    """Return the bytes that a step reads."""
    return bytes_of_step(
        backend.config.decoder,
        backend.precision,
        step,
        rows=2 * options.callers,
        cached_bytes=CACHED_BYTES[backend.cache_form],
    )


def find_interval(values: list[float]) -> list[float]:
    """Return the interval of 95 % of the median, by order statistics."""
    ordered, half = sorted(values), 0.98 * math.sqrt(len(values))
    middle = (len(values) - 1) / 2
    ends = (math.floor(middle - half), math.ceil(middle + half))
    return [round(ordered[min(max(end, 0), len(values) - 1)], 3) for end in ends]


def summarize(turns: list[Turn]) -> dict[str, Any]:
    """Return the medians of these turns."""
    first, figures = next(iter(turns[0].steps)), {}
    for name in turns[0].steps:
        ratios = [turn.steps[first] / turn.steps[name] for turn in turns]
        shares = [
            turn.needed[name] / statistics.mean(turn.reads) / turn.steps[name] for turn in turns
        ]
        figures[name] = {
            "step_ms": round(1000 * statistics.median(turn.steps[name] for turn in turns), 3),
            "ratio": round(statistics.median(ratios), 3),
            "ratio_interval": find_interval(ratios),
            "share_of_the_read": round(statistics.median(shares), 3),
        }
    reads = [read for turn in turns for read in turn.reads]
    return {
        "turns": len(turns),
        "median_read_gb_per_second": round(statistics.median(reads) / 1e9, 2),
        "contestants": figures,
    }


def split_turns(turns: list[Turn], limit: float) -> dict[str, list[Turn]]:
    """Return the turns whose reads were both on one side of `limit`, in bytes a second."""
    return {
        "slow_memory": [turn for turn in turns if max(turn.reads) < limit],
        "fast_memory": [turn for turn in turns if min(turn.reads) >= limit],
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("builds", nargs="+", type=Path, metavar="SO", help="compiled libraries")
    parser.add_argument("--packed", type=Path, required=True, help="packed file of a native form")
    parser.add_argument("--frames", type=int, default=250, help="of a clip")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--callers", type=int, default=1, help="clips made at once")
    parser.add_argument("--threads", type=int, default=cpu_quota())
    parser.add_argument(
        "--split", type=float, metavar="GB", help="GB/s between slow and fast memory"
    )
    parser.add_argument("--small-pages", action="store_true", help="leave the weights in the file")
    parser.add_argument(
        "--caches", nargs="+", choices=CACHE_FORMS, help="formats of keys and values to compare"
    )
    parser.add_argument(
        "--small-caches", action="store_true", help="compare with caches in pages of 4 kB"
    )
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    pack = PackFile(options.packed)
    pack.check()
    contestants = load_contestants(options, pack)
    last = options.frames + config_of(pack).decoder.codebooks
    most = max(count_bytes(options, each.backend, last) for each in contestants.values())
    turns = list(run_turns(contestants, torch.ones(int(most) // 4 + 1), options))
    report: dict[str, Any] = {
        "name": "native_builds",
        "machine": machine("cpu", options.threads),
        "form": pack.manifest.form,
        "frames": options.frames,
        "clips": options.clips,
        "callers": options.callers,
        "small_pages": options.small_pages,
        **summarize(turns),
    }
    for name, some in split_turns(turns, 1e9 * (options.split or 0)).items():
        if options.split is not None and some:
            report[name] = summarize(some)
    for name, figures in report["contestants"].items():
        print(name, json.dumps(figures))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
