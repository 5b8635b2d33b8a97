"""Compare this engine's continuous batch with transformers' static one, for several callers.

    python bench/serve.py                       # full-size random musicgen-small, 1, 4, 8 callers
    python bench/serve.py --device cuda --callers 1 2 4 8 16 32 --model musicgen-large

Each of N callers requests one clip after another; the callers start a little apart. This engine
accepts requests at any time and streams the audio. transformers' `generate` needs a complete batch:
it gets the N prompts at once, an advantage, because no prompt waits for an earlier batch. Its first
audio comes at the end. `--previous PATH` adds the build of another checkout, for the same callers.

Throughput is seconds of audio per second of the clock, for all callers together. Ratios are this
engine over transformers for the throughput, and transformers over this engine for the time to the
first audio. They are ratios of medians over alternating rounds. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import torch

from bench.contestants import GUIDANCE, PROMPT, TOP_K, load_packed_engine
from bench.decode import machine
from bench.previous import PREVIOUS, add_previous, start

if TYPE_CHECKING:
    from musicgen.model.config import MusicGenConfig

ARRIVALS_APART_SECONDS = 0.2
CONTESTANTS = (
    "musicgen float32",
    "musicgen bfloat16",
    "musicgen int8",
    "packed int8",
    "packed int4",
    "transformers float32",
    "transformers bfloat16",
)
LoadTimes = dict[str, Any]
"""seconds: of the clock. latency, first: seconds for each clip."""


def load_ours(
    folder: Path, device: str, precision: str, seconds: float, most: int
) -> Callable[[int, int], LoadTimes]:
    """Load this engine for at most `most` callers.

    Returns: a function from a number of callers, and of clips for each, to their times.
    """
    from musicgen.engine.pytorch.loading import load_checkpoint
    from musicgen.model.config import MusicGenConfig

    config = MusicGenConfig.from_folder(folder)
    engine = load_checkpoint(folder, config, device, precision, rows=max(16, 2 * most))
    return time_callers(engine, config, seconds)


def load_packed(
    folder: Path, device: str, precision: str, seconds: float, most: int
) -> Callable[[int, int], LoadTimes]:
    """Load this engine from a packed file, as a worker on a processor does."""
    engine = load_packed_engine(folder, precision, slots=most)
    return time_callers(engine, engine.config, seconds)


def time_callers(
    engine: Any, config: MusicGenConfig, seconds: float
) -> Callable[[int, int], LoadTimes]:
    """Return a function from a number of callers, and of clips for each, to their times."""
    from musicgen.engine.interface import GenerationJob, Row
    from musicgen.request import SamplingParams

    sampling = SamplingParams(1.0, TOP_K, 0.0, GUIDANCE)
    frames = round(seconds * config.frame_rate)

    def call(caller: int, clips: int) -> list[tuple[float, float]]:
        time.sleep(caller * ARRIVALS_APART_SECONDS)
        return [clip(caller + 1000 * number) for number in range(clips)]

    def clip(seed: int) -> tuple[float, float]:
        started, first = time.perf_counter(), 0.0
        for progress in engine.generate(
            GenerationJob((Row(PROMPT, seed, sampling),), frames, stream=True)
        ):
            if not first and any(len(pcm) for pcm in progress.pcm):
                first = time.perf_counter() - started
        return time.perf_counter() - started, first

    def run(callers: int, clips: int) -> LoadTimes:
        started = time.perf_counter()
        with ThreadPoolExecutor(callers) as pool:
            calls = [pool.submit(call, caller, clips) for caller in range(callers)]
            pairs = [pair for future in calls for pair in future.result()]
        elapsed = time.perf_counter() - started
        return _build_run(elapsed, [latency for latency, _ in pairs], [first for _, first in pairs])

    return run


def load_transformers(
    folder: Path, device: str, precision: str, seconds: float, most: int
) -> Callable[[int, int], LoadTimes]:
    """Load transformers; it runs one batch after another."""
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    model = MusicgenForConditionalGeneration.from_pretrained(
        folder, dtype=getattr(torch, precision)
    )
    model = model.to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    frame_rate = model.config.audio_encoder.frame_rate
    steps = round(seconds * frame_rate) + model.config.decoder.num_codebooks - 1

    def run(callers: int, clips: int) -> LoadTimes:
        inputs = tokenizer([PROMPT] * callers, return_tensors="pt").to(device)
        latencies = []
        for number in range(clips):
            torch.manual_seed(number)
            started = time.perf_counter()
            model.generate(
                **inputs, do_sample=True, top_k=TOP_K, guidance_scale=GUIDANCE, max_new_tokens=steps
            )
            if device != "cpu":
                torch.cuda.synchronize()
            latencies += [time.perf_counter() - started] * callers
        return _build_run(sum(latencies) / callers, latencies, latencies)

    return run


def _build_run(elapsed: float, latencies: list[float], firsts: list[float]) -> LoadTimes:
    return {"seconds": elapsed, "latency": latencies, "first": firsts}


def run_contestant(pipe: Connection, name: str, folder: Path, options: argparse.Namespace) -> None:
    """Load a contestant in its own process, then run every load from `pipe`."""
    torch.set_num_threads(options.threads)
    engine, precision = name.split()
    makers = {"musicgen": load_ours, "packed": load_packed, "transformers": load_transformers}
    run = makers[engine](folder, options.device, precision, options.seconds, max(options.callers))
    run(1, 1)
    pipe.send("ready")
    for callers, clips in iter(pipe.recv, None):
        pipe.send(run(callers, clips))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, dict[int, list[LoadTimes]]]:
    """Return all rounds by contestant and number of callers."""
    pipes = {name: start_contestant(name, options, folder) for name in options.contestants}
    rounds: dict[str, dict[int, list[LoadTimes]]] = {
        name: {callers: [] for callers in options.callers} for name in pipes
    }
    for callers in options.callers:
        for number in range(options.rounds):
            for name, pipe in pipes.items():
                pipe.send((callers, options.clips))
                served = pipe.recv()
                rounds[name][callers].append(served)
                made = callers * options.clips * options.seconds / served["seconds"]
                first = statistics.median(served["first"])
                print(
                    f"round {number} {callers:3} callers {name:22} {made:6.3f} s of audio a "
                    f"second, first sound after {first:6.2f} s",
                    flush=True,
                )
        if options.save is not None:
            options.save.write_text(json.dumps(report(options, rounds), indent=1) + "\n")
    for pipe in pipes.values():
        pipe.send(None)
    return rounds


def start_contestant(name: str, options: argparse.Namespace, folder: Path) -> Connection:
    """Start the process of a contestant and wait until it is loaded. Returns: its pipe."""
    if name.startswith(PREVIOUS):
        arguments = (name.replace(PREVIOUS, "musicgen"), folder, options)
        here, _ = start(options.previous, "bench.serve", "run_contestant", arguments)
    else:
        spawn = multiprocessing.get_context("spawn")
        here, there = spawn.Pipe()
        spawn.Process(
            target=run_contestant, args=(there, name, folder, options), daemon=True
        ).start()
        there.close()
    here.recv()
    return here


def report(
    options: argparse.Namespace, rounds: dict[str, dict[int, list[LoadTimes]]]
) -> dict[str, Any]:
    """Return the medians of all contestants and their ratios."""
    medians: dict[str, dict[str, dict[str, float]]] = {
        name: {
            str(callers): _figures(options, callers, served)
            for callers, served in loads.items()
            if served
        }
        for name, loads in rounds.items()
    }
    ratios = {}
    for mine in (name for name in medians if name.startswith(("musicgen", "packed"))):
        for peer in (name for name in medians if name.startswith(("transformers", PREVIOUS))):
            for callers, figures in medians[mine].items():
                against = medians[peer][callers]
                load = f"{callers} caller{'' if callers == '1' else 's'}"
                label = f"{mine} over {peer}, {load}"
                ratios[f"throughput, {label}"] = figures["throughput"] / against["throughput"]
                ratios[f"first sound, {label}"] = against["first_p50"] / figures["first_p50"]
    return {
        "name": "serve",
        "machine": machine(options.device, options.threads),
        "model": options.model,
        "seconds_of_audio": options.seconds,
        "clips_of_each_caller": options.clips,
        "rounds": options.rounds,
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "medians": medians,
    }


def _figures(
    options: argparse.Namespace, callers: int, served: list[LoadTimes]
) -> dict[str, float]:
    audio = callers * options.clips * options.seconds
    latencies = sorted(seconds for load in served for seconds in load["latency"])
    firsts = sorted(seconds for load in served for seconds in load["first"])
    return {
        "throughput": audio / statistics.median(load["seconds"] for load in served),
        "latency_p50": _percentile(latencies, 50),
        "latency_p95": _percentile(latencies, 95),
        "first_p50": _percentile(firsts, 50),
        "first_p95": _percentile(firsts, 95),
    }


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def main() -> None:
    from bench.full_size import build_full_size
    from musicgen.process.resources import cpu_quota

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="musicgen-small", help="shapes of a published model")
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--clips", type=int, default=1, help="of each caller, in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cpu_quota())
    parser.add_argument("--contestants", nargs="+", default=CONTESTANTS)
    parser.add_argument("--previous", type=Path, help="checkout of a build to compare with")
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    options.contestants = add_previous(list(options.contestants), options.previous)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.checkpoint or Path(scratch) / options.model
        build_full_size(options.model, folder, device=options.device)
        result = report(options, measure(options, folder))
    if options.save is not None:
        options.save.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
