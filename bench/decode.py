"""Compare this engine with transformers' `generate`, one clip at a time, with the same weights.

    python bench/decode.py                         # full-size random musicgen-small, 5 s, 5 rounds
    python bench/decode.py --device cuda --model musicgen-large --seconds 30

A decode step reads every weight of the decoder once and computes little with it. At batch 1 its
time is at least the bytes of the weights over the memory bandwidth. transformers' step does more:
separate products for query, key and value, a copy of the cache at every step, a new projection and
mask of the prompt's states, and cross-attention without effect for the unconditional half. This
engine does none of these. For "bfloat16" it uses the fastest arithmetic of the machine: on an x86
processor, float16 weights with float32 sums. int8 (processors only) has no counterpart in
transformers and is compared with both of its precisions. "pytorch" is this engine without its
compiled C++; "transformers-static" is transformers' compiled mode for GPUs.

"share of the roofline" is the time to read a step's weights and cache at the bandwidth of the same
rounds, over the time of the step (`bench/roofline.py`).

Each contestant has its own process and so its own peak memory. Rounds are interleaved: every
contestant runs once per round, in turn, and the others sleep. Ratios are of medians, transformers'
time over this engine's: above 1, this engine is faster. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import torch

from bench.contestants import ENGINES, Run
from bench.roofline import bytes_of_step, read_bandwidth
from musicgen.model.config import MusicGenConfig

CONTESTANTS = (
    "musicgen float32",
    "musicgen bfloat16",
    "musicgen int8",
    "musicgen-compiled bfloat16",
    "pytorch int8",
    "transformers float32",
    "transformers bfloat16",
    "transformers-static bfloat16",
)
FOR_GPUS = ("musicgen-compiled bfloat16", "transformers-static bfloat16")
DEFAULT = tuple(name for name in CONTESTANTS if name not in FOR_GPUS)


def contestant(
    pipe: Connection,
    engine: str,
    folder: Path,
    device: str,
    precision: str,
    seconds: float,
    threads: int,
) -> None:
    """Load a contestant in its own process, then make a clip for every seed from `pipe`."""
    torch.set_num_threads(threads)
    run = ENGINES[engine](folder, device, precision, seconds)
    pipe.send("loaded")
    for seed in iter(pipe.recv, None):
        started = time.process_time()
        result = run(seed)
        result["processor"] = time.process_time() - started
        result["peak_rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        result["rss"] = resident_bytes()
        if device != "cpu":
            result["peak_gpu"] = torch.cuda.max_memory_allocated()
        pipe.send(result)


def measure(options: argparse.Namespace, folder: Path) -> tuple[dict[str, list[Run]], list[float]]:
    """Return all runs by contestant without the warm-ups, and the memory bandwidths in bytes/s."""
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for name in options.contestants:
        engine, precision = name.split()
        here, there = spawn.Pipe()
        arguments = (
            there,
            engine,
            folder,
            options.device,
            precision,
            options.seconds,
            options.threads,
        )
        processes.append(spawn.Process(target=contestant, args=arguments, daemon=True))
        processes[-1].start()
        there.close()
        here.recv()
        pipes[name] = here
    runs: dict[str, list[Run]] = {name: [] for name in pipes}
    bandwidths = []
    for seed in range(options.rounds + 1):
        bandwidths.append(read_bandwidth(options.device))
        for name, pipe in pipes.items():
            pipe.send(seed)
            result = pipe.recv()
            print(
                f"round {seed} {name:22} {result['total']:7.2f} s "
                f"{1000 * result['step']:7.2f} ms/step",
                flush=True,
            )
            if seed > 0:
                runs[name].append(result)
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(None)
        process.join()
    return runs, bandwidths


def report(
    options: argparse.Namespace,
    config: MusicGenConfig,
    runs: dict[str, list[Run]],
    bandwidths: list[float],
) -> dict[str, Any]:
    medians = {
        name: {key: statistics.median(run[key] for run in results) for key in results[0]}
        for name, results in runs.items()
    }
    ratios = {
        f"{what}, {mine} over {peer}": round(medians[peer][what] / medians[mine][what], 3)
        for mine in medians
        for peer in medians
        for what in ("total", "step")
        if not mine.startswith("transformers") and peer.startswith("transformers")
    }
    bandwidth = statistics.median(bandwidths)
    shares = {}
    for name, figures in medians.items():
        precision = name.split()[1]
        cached = 2 if name == "musicgen int8" or precision == "bfloat16" else 4
        middle = options.seconds * config.frame_rate / 2
        read = bytes_of_step(config.decoder, precision, middle, cached_bytes=cached)
        shares[name] = round(read / bandwidth / figures["step"], 3)
    return {
        "name": "decode",
        "machine": machine(options.device, options.threads),
        "model": options.model,
        "seconds_of_audio": options.seconds,
        "rounds": options.rounds,
        "ratios": ratios,
        "bandwidth_gb_per_second": round(bandwidth / 1e9, 2),
        "share_of_the_roofline": shares,
        "medians": medians,
        "runs": runs,
    }


def machine(device: str, threads: int) -> dict[str, Any]:
    """Describe the machine of a measurement."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "gpu": None if device == "cpu" else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def resident_bytes() -> int:
    """Return the resident memory of this process, with pages of memory-mapped weights."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    from bench.full_size import build_full_size
    from musicgen.process.resources import cpu_quota

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="musicgen-small", help="shapes of a published model")
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cpu_quota())
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=DEFAULT)
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.checkpoint or Path(scratch) / options.model
        build_full_size(options.model, folder, dtype=torch.float32)
        torch.set_num_threads(options.threads)
        config = MusicGenConfig.from_folder(folder)
        result = report(options, config, *measure(options, folder))
    if options.save is not None:
        options.save.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
