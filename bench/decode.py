"""Compare this engine with transformers' `generate`, one clip at a time, with the same weights.

    python bench/decode.py                         # full-size random musicgen-small, 5 s, 5 rounds
    python bench/decode.py --device cuda --model musicgen-large --seconds 30

A decode step reads every weight of the decoder once and computes little with it. At batch 1 its
time is at least the bytes of the weights over the memory bandwidth. transformers' step does more:
separate products for query, key and value, a copy of the cache at every step, a new projection and
mask of the prompt's states, and cross-attention without effect for the unconditional half. This
engine does none of these. For "bfloat16" it uses the fastest arithmetic of the machine: on an x86
processor, float16 weights with float32 sums. int8 (processors only) has no counterpart in
transformers and is compared with both of its precisions. "packed" is this engine from a packed file
for processors, as a worker loads it. "pytorch" is this engine without its
compiled C++; "transformers-static" is transformers' compiled mode for GPUs. "openvino" and
"onnxruntime" run the same weights converted by their own tools (`bench/graph_contestants.py`); they
are left out where the extra `bench` is not installed. `--previous PATH` adds the build of another
checkout, in processes that import nothing of this one.

"share of the roofline" is the time to read a step's weights and cache, over the time of the step
(`bench/roofline.py`); the median of rounds. Other machines share the memory, so its bandwidth is
measured directly before and after each run, and the mean of both counts. That bandwidth is the best
of several reads: the least time that this machine allows. A step's time is the mean over a clip and
includes moments in which other machines use the memory. "share of the median read" therefore
compares with the median of the same reads.

Each contestant has its own process and so its own peak memory. Rounds are interleaved: every
contestant runs once per round, in turn, and the others sleep. Ratios are of medians, a peer's time
over this engine's: above 1, this engine is faster. The last line is one JSON object.
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
from bench.graph_contestants import select_installed
from bench.previous import PREVIOUS, add_previous, start
from bench.roofline import bytes_of_step, count_cached_bytes, measure_bandwidth
from musicgen.model.config import MusicGenConfig

CONTESTANTS = (
    "musicgen float32",
    "musicgen bfloat16",
    "musicgen int8",
    "musicgen int4",
    "packed float32",
    "packed bfloat16",
    "packed int8",
    "packed int4",
    "musicgen-compiled bfloat16",
    "musicgen-kernels bfloat16",
    "pytorch int8",
    "transformers float32",
    "transformers bfloat16",
    "transformers-static bfloat16",
    "openvino float32",
    "openvino bfloat16",
    "openvino int8",
    "openvino int4",
    "onnxruntime float32",
    "onnxruntime int8",
    "onnxruntime int4",
)
PEERS = ("transformers", "openvino", "onnxruntime", PREVIOUS)
FOR_GPUS = (
    "musicgen-compiled bfloat16",
    "musicgen-kernels bfloat16",
    "transformers-static bfloat16",
)
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


def measure(options: argparse.Namespace, folder: Path) -> dict[str, list[Run]]:
    """Return all runs by contestant without the warm-ups; bandwidths are in bytes/s."""
    pipes = {name: start_contestant(name, options, folder) for name in options.contestants}
    runs: dict[str, list[Run]] = {name: [] for name in pipes}
    for seed in range(options.rounds + 1):
        before = measure_bandwidth(options.device)
        for name, pipe in pipes.items():
            pipe.send(seed)
            result = pipe.recv()
            after = measure_bandwidth(options.device)
            result["bandwidth"] = (before.best + after.best) / 2
            result["median_bandwidth"] = (before.median + after.median) / 2
            before = after
            print(
                f"round {seed} {name:22} {result['total']:7.2f} s "
                f"{1000 * result['step']:7.2f} ms/step",
                flush=True,
            )
            if seed > 0:
                runs[name].append(result)
    for pipe in pipes.values():
        pipe.send(None)
    return runs


def start_contestant(name: str, options: argparse.Namespace, folder: Path) -> Connection:
    """Start the process of a contestant and wait until it is loaded. Returns: its pipe."""
    engine, precision = name.split()
    settings = (folder, options.device, precision, options.seconds, options.threads)
    if engine == PREVIOUS:
        arguments = ("musicgen", *settings)
        here, _ = start(options.previous, "bench.decode", "contestant", arguments)
    else:
        spawn = multiprocessing.get_context("spawn")
        here, there = spawn.Pipe()
        spawn.Process(target=contestant, args=(there, engine, *settings), daemon=True).start()
        there.close()
    here.recv()
    return here


def report(
    options: argparse.Namespace,
    config: MusicGenConfig,
    runs: dict[str, list[Run]],
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
        if not mine.startswith(PEERS) and peer.startswith(PEERS)
    }
    bandwidths = [run["bandwidth"] for results in runs.values() for run in results]
    shares: dict[str, float] = {}
    median_shares: dict[str, float] = {}
    for name, results in runs.items():
        middle, cached = options.seconds * config.frame_rate / 2, count_cached_bytes(name)
        read = bytes_of_step(config.decoder, name.split()[1], middle, cached_bytes=cached)
        for found, key in ((shares, "bandwidth"), (median_shares, "median_bandwidth")):
            of_rounds = [read / run[key] / run["step"] for run in results]
            found[name] = round(statistics.median(of_rounds), 3)
    return {
        "name": "decode",
        "machine": machine(options.device, options.threads),
        "model": options.model,
        "seconds_of_audio": options.seconds,
        "rounds": options.rounds,
        "ratios": ratios,
        "bandwidth_gb_per_second": round(statistics.median(bandwidths) / 1e9, 2),
        "share_of_the_roofline": shares,
        "share_of_the_median_read": median_shares,
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
    parser.add_argument("--previous", type=Path, help="checkout of a build to compare with")
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    options.contestants = add_previous(
        select_installed(list(options.contestants), options.device), options.previous
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.checkpoint or Path(scratch) / options.model
        build_full_size(options.model, folder, device=options.device)
        torch.set_num_threads(options.threads)
        config = MusicGenConfig.from_folder(folder)
        result = report(options, config, measure(options, folder))
    if options.save is not None:
        options.save.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
