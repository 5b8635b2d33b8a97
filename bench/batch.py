"""Compare batches of clips made in one call, with transformers' `generate` on the same prompts.

    python bench/batch.py --device cuda:0 --model musicgen-large --batches 8 32 64

Every clip of a batch has its own seed. Throughput is seconds of audio for each second of the clock,
codec included. Ratios are the second one's time over the first one's: above 1, the first is faster.
"share of the roofline" is the time to read a step's weights and cache once, over the time of the
step; in large batches arithmetic takes longer than the reads. "equal to alone" counts the tokens of
the first and the last clip that the same clip has when it is made alone: only rounding separates
them. "musicgen-int8-cache" are the kernels with an 8-bit KV cache, compared with those without it
too. `slots` are the rows that fit, with the type of their cache; a batch of more rows than these
runs without slots. Contestants run one after another, because each plans its slots for all memory.
A batch beyond the memory is reported, and the next one goes on. The last line is one JSON object,
saved after each batch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from bench.contestants import GUIDANCE, PROMPT, TOP_K, synchronize
from bench.decode import machine
from bench.roofline import bytes_of_step, count_cached_bytes, read_bandwidth
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.model.config import MusicGenConfig

CONTESTANTS = (
    "musicgen float32",
    "musicgen bfloat16",
    "musicgen-kernels bfloat16",
    "musicgen-int8-cache bfloat16",
    "transformers float32",
    "transformers bfloat16",
)
Run = dict[str, Any]


def load_ours(
    folder: Path,
    device: str,
    precision: str,
    seconds: float,
    most: int,
    kernels: KernelOptions | None = None,
) -> Callable[[int], Run]:
    """Load this engine with slots for `most` guided clips."""
    from musicgen.engine.interface import GenerationJob, Row, run_to_end
    from musicgen.engine.pytorch.backend import TorchBackend
    from musicgen.engine.pytorch.loading import load_checkpoint
    from musicgen.request import SamplingParams

    config = MusicGenConfig.from_folder(folder)
    engine = load_checkpoint(folder, config, device, precision, rows=2 * most, kernels=kernels)
    sampling, frames = SamplingParams(1.0, TOP_K, 0.0, GUIDANCE), round(seconds * config.frame_rate)
    alone: dict[int, Any] = {}
    assert isinstance(engine.backend, TorchBackend)
    slots = engine.backend.runner.slots
    planned = None if slots is None else f"{slots.rows} rows, {slots.cache.keys.dtype}"

    def make(seeds: range) -> Any:
        rows = tuple(Row(PROMPT, seed, sampling) for seed in seeds)
        return run_to_end(engine.generate(GenerationJob(rows, frames)))

    def run(batch: int) -> Run:
        started = time.perf_counter()
        output = make(range(batch))
        total = time.perf_counter() - started
        equal = {}
        for seed in {0, batch - 1} if batch > 1 else ():
            if seed not in alone:
                alone[seed] = make(range(seed, seed + 1)).codes[0]
            same = np.asarray(output.codes[seed]) == alone[seed]
            equal[f"clip {seed}"] = {"equal": int(same.sum()), "of": same.size}
        step = output.timings.decode / output.steps
        return {"total": total, "step": step, "equal to alone": equal, "slots": planned}

    return run


def load_transformers(
    folder: Path, device: str, precision: str, seconds: float, most: int
) -> Callable[[int], Run]:
    """Load transformers; its step includes the codec, since `generate` does."""
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    dtype = getattr(torch, precision)
    model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=dtype).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    frames = round(seconds * model.config.audio_encoder.frame_rate)
    steps = frames + model.config.decoder.num_codebooks - 1

    def run(batch: int) -> Run:
        torch.manual_seed(batch)
        started = time.perf_counter()
        inputs = tokenizer([PROMPT] * batch, return_tensors="pt").to(device)
        options = {"do_sample": True, "top_k": TOP_K, "guidance_scale": GUIDANCE}
        model.generate(**inputs, **options, max_new_tokens=steps)
        synchronize(device)
        total = time.perf_counter() - started
        return {"total": total, "step": total / steps, "equal to alone": {}}

    return run


def run_contestant(pipe: Connection, name: str, folder: Path, options: argparse.Namespace) -> None:
    """Load a contestant in its own process, then make every batch from `pipe`."""
    torch.set_num_threads(options.threads)
    engine, precision = name.split()
    loaders = {
        "musicgen": load_ours,
        "musicgen-kernels": partial(load_ours, kernels=KernelOptions()),
        "musicgen-int8-cache": partial(load_ours, kernels=KernelOptions(kv_cache="int8")),
        "transformers": load_transformers,
    }
    load = loaders[engine]
    run = load(folder, options.device, precision, options.seconds, max(options.batches))
    pipe.send("loaded")
    for batch in iter(pipe.recv, None):
        try:
            made = run(batch)
        except Exception as error:  # too large a batch must not end the other measurements
            pipe.send({"error": f"{type(error).__name__}: {error}"[:300]})
            continue
        if options.device != "cpu":
            made["peak_gpu"] = torch.cuda.max_memory_allocated()
        pipe.send(made)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the report, saved after each batch."""
    config = MusicGenConfig.from_folder(folder)
    report: dict[str, Any] = {
        "name": "batch",
        "machine": machine(options.device, options.threads),
        "model": options.model,
        "seconds_of_audio": options.seconds,
        "rounds": options.rounds,
        "bandwidth_gb_per_second": round(read_bandwidth(options.device) / 1e9, 1),
        "batches": {},
    }
    runs: dict[int, dict[str, list[Run]]] = {batch: {} for batch in options.batches}
    for name in options.contestants:
        for batch, made in measure_contestant(name, options, folder):
            runs[batch][name] = made
            report["batches"][str(batch)] = summarise(options, config, report, batch, runs[batch])
            if options.save is not None:
                options.save.write_text(json.dumps(report, indent=1) + "\n")
    return report


def measure_contestant(
    name: str, options: argparse.Namespace, folder: Path
) -> Iterator[tuple[int, list[Run]]]:
    """Yield each batch of a contestant with its runs."""
    spawn = multiprocessing.get_context("spawn")
    pipe, there = spawn.Pipe()
    arguments = (there, name, folder, options)
    process = spawn.Process(target=run_contestant, args=arguments, daemon=True)
    process.start()
    there.close()
    try:
        pipe.recv()
    except EOFError:  # the other contestants must still be measured
        yield from ((batch, [{"error": "it ended while it loaded"}]) for batch in options.batches)
        return
    for batch in options.batches:
        # Ours captures graphs for each batch; transformers has nothing of a batch's own to prepare.
        warm_ups = 1 if name.startswith("musicgen") or batch == options.batches[0] else 0
        runs = []
        for number in range(options.rounds + warm_ups):
            pipe.send(batch)
            made = pipe.recv()
            took = made.get("error") or f"{made['total']:.2f} s {1000 * made['step']:.2f} ms"
            print(f"batch {batch} round {number} {name:28} {took}", flush=True)
            if number >= warm_ups or "error" in made:
                runs.append(made)
        yield batch, runs
    pipe.send(None)
    process.join()


def summarise(
    options: argparse.Namespace,
    config: MusicGenConfig,
    report: dict[str, Any],
    batch: int,
    runs: dict[str, list[Run]],
) -> dict[str, Any]:
    """Return medians, throughput and ratios of one batch size."""
    figures: dict[str, Any] = {}
    for name, made in runs.items():
        failed = [run["error"] for run in made if "error" in run]
        if failed:
            figures[name] = {"error": failed[0]}
            continue
        total = statistics.median(run["total"] for run in made)
        step = statistics.median(run["step"] for run in made)
        middle, cached = options.seconds * config.frame_rate / 2, count_cached_bytes(name)
        read = bytes_of_step(
            config.decoder, name.split()[1], middle, rows=2 * batch, cached_bytes=cached
        )
        figures[name] = {
            "total": total,
            "step": step,
            "audio_per_second": round(batch * options.seconds / total, 3),
            "share_of_the_roofline": round(
                read / (report["bandwidth_gb_per_second"] * 1e9) / step, 3
            ),
            "equal_to_alone": made[-1]["equal to alone"],
            "slots": made[-1].get("slots"),
            "peak_gpu": max((run.get("peak_gpu", 0) for run in made), default=0),
        }
    ratios = {
        f"{mine} over {peer}": round(figures[peer]["total"] / figures[mine]["total"], 3)
        for mine in figures
        for peer in figures
        if (mine.startswith("musicgen") and peer.startswith("transformers"))
        or (mine.startswith("musicgen-int8-cache") and peer.startswith("musicgen-kernels"))
        if "total" in figures[mine] and "total" in figures[peer]
    }
    return {"ratios": ratios, **figures}


def main() -> None:
    from bench.full_size import build_full_size
    from musicgen.process.resources import cpu_quota

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="musicgen-small", help="shapes of a published model")
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=cpu_quota())
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.checkpoint or Path(scratch) / options.model
        build_full_size(options.model, folder, device=options.device)
        print(json.dumps(measure(options, folder)))


if __name__ == "__main__":
    main()
