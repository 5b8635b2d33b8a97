"""Compare EnCodec decoders on the same codes: a whole clip, a stream, and other programs.

    python bench/codec.py --seconds 5 30
    python bench/codec.py --previous ../before        # with the build of another checkout

A whole clip ("musicgen") is decoded by PyTorch in pieces of the size of a processor's cache, not
"at once". A "stream" has even smaller pieces, which "stream graph" runs as a CUDA graph. "native
FORM" is the native library with packed weights, and "native stream FORM" its stream. "openvino" and
"onnxruntime" run the converted network at the clip's length; "previous NAME" is the contestant NAME
of another checkout.

The float32 forms must give the same samples as transformers. "error_db" is the error against
float32, in dB (-200 for equal samples): on the random weights of the comparison, and with --music
on music of the demo, its own weights and tokens.

Each contestant has its own process; rounds are interleaved; ratios are of medians. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
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

import numpy as np
import torch

from bench.codec_decoders import Array, is_exact, load_decoder
from bench.decode import machine
from bench.graph_contestants import select_installed
from bench.previous import PREVIOUS, add_previous, start
from musicgen.engine.pytorch.loading import use_exact_float32
from musicgen.model.config import MusicGenConfig

TOLERANCE = 1e-4
REFERENCE = "transformers"
CONTESTANTS = (
    "musicgen",
    "at once",
    "stream",
    "stream graph",
    "native int16",
    "native float32",
    "native stream int16",
    REFERENCE,
    "openvino float32",
    "openvino bfloat16",
    "onnxruntime float32",
)
DEFAULT = tuple(name for name in CONTESTANTS if name != "stream graph")
"""Those for a processor."""


def run_contestant(pipe: Connection, name: str, folder: Path, options: argparse.Namespace) -> None:
    """Load a contestant in its own process; answer codes by seconds and samples."""
    torch.set_num_threads(options.threads)
    use_exact_float32()
    decode = load_decoder(name, folder, options.device, options.threads)
    pipe.send("ready" if decode is not None else "missing")
    if decode is None:
        return
    with torch.inference_mode():
        while (codes := pipe.recv()) is not None:
            started = time.perf_counter()
            samples = decode(codes)
            pipe.send((time.perf_counter() - started, samples))


def start_contestants(options: argparse.Namespace, folder: Path) -> dict[str, Connection]:
    """Start all contestants that can run here. Returns: their pipes."""
    spawn, pipes = multiprocessing.get_context("spawn"), {}
    for name in options.contestants:
        if name.startswith(PREVIOUS):
            arguments = (name.removeprefix(PREVIOUS).strip() or "musicgen", folder, options)
            here, _ = start(options.previous, "bench.codec", "run_contestant", arguments)
        else:
            here, there = spawn.Pipe()
            spawn.Process(
                target=run_contestant, args=(there, name, folder, options), daemon=True
            ).start()
            there.close()
        if here.recv() == "ready":
            pipes[name] = here
        else:
            print(f"{name} is left out: this build has no native codec.")
    return pipes


def measure(options: argparse.Namespace, pipes: dict[str, Connection], codes: Array) -> Any:
    """Return the medians of all decoders for `codes`; "error" tells of wrong samples."""
    samples: dict[str, Array] = {}
    for name, pipe in pipes.items():
        pipe.send(codes)
        samples[name] = pipe.recv()[1]
    try:
        errors: dict[str, Any] = {**compare_samples(samples)}
    except AssertionError as wrong:  # the times must still be measured
        errors = {"error": str(wrong)}
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    for number in range(options.rounds):
        for name, pipe in pipes.items():
            pipe.send(codes)
            seconds[name].append(pipe.recv()[0])
            print(f"round {number} {name:22} {seconds[name][-1]:8.3f} s", flush=True)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    mine = [name for name in medians if not name.startswith(_PEERS)]
    return {
        "medians": {name: round(median, 4) for name, median in medians.items()},
        **{
            f"{peer} over {name}": round(medians[peer] / medians[name], 3)
            for name in mine
            for peer in medians
            if peer != name
        },
        **errors,
    }


_PEERS = (REFERENCE, "openvino", "onnxruntime", PREVIOUS, "at once")


def compare_samples(samples: dict[str, Array]) -> dict[str, dict[str, float]]:
    """Return the differences to float32: the largest over the standard deviation, and dB.

    Raises: `AssertionError` for a float32 decoder with other samples.
    """
    expected = samples.get(REFERENCE, next(iter(samples.values())))
    size = float(np.linalg.norm(expected))
    largest = {
        name: float(np.abs(output - expected).max() / expected.std())
        for name, output in samples.items()
    }
    wrong = {name: e for name, e in largest.items() if is_exact(name) and not e <= TOLERANCE}
    if wrong:
        raise AssertionError(f"not the same samples: {wrong}")
    decibels = {
        name: round(20 * math.log10(max(float(np.linalg.norm(output - expected)) / size, 1e-10)), 1)
        for name, output in samples.items()
    }
    return {"largest difference over standard deviation": largest, "error_db": decibels}


def draw_codes(folder: Path, frames: int) -> Array:
    """Return random codes (codebooks, frames)."""
    config = MusicGenConfig.from_folder(folder).decoder
    shape = (config.codebooks // config.channels, frames)
    return np.random.default_rng(0).integers(config.vocab_size, size=shape)


def measure_music(options: argparse.Namespace) -> Any:
    """Return the differences to float32 on music of the demo, of every decoder here."""
    from bench.codec_decoders import compose_demo_codes

    folder, codes = compose_demo_codes(options.music)
    options = argparse.Namespace(**vars(options))
    options.contestants = [n for n in options.contestants if not n.startswith(PREVIOUS)]
    pipes = start_contestants(options, folder)
    samples = {}
    for name, pipe in pipes.items():
        pipe.send(codes)
        samples[name] = pipe.recv()[1]
        pipe.send(None)
    return compare_samples(samples)


def main() -> None:
    from bench.full_size import build_full_size
    from musicgen.process.resources import cpu_quota

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="musicgen-small", help="shapes of a published model")
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 30.0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cpu_quota())
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=DEFAULT)
    parser.add_argument("--previous", type=Path, help="checkout of a build to compare with")
    parser.add_argument("--music", type=float, default=0.0, help="seconds of the demo's music")
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    options.contestants = add_previous(
        select_installed(list(options.contestants), options.device), options.previous
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.checkpoint or Path(scratch) / options.model
        build_full_size(options.model, folder, device=options.device)
        pipes = start_contestants(options, folder)
        lengths: dict[str, Any] = {}
        result = {
            "name": "codec",
            "machine": machine(options.device, options.threads),
            "rounds": options.rounds,
            "lengths": lengths,
        }
        for seconds in options.seconds:
            codes = draw_codes(folder, round(50 * seconds))
            lengths[f"{seconds:g} s"] = measure(options, pipes, codes)
            save(options, result)
        for pipe in pipes.values():
            pipe.send(None)
    if options.music:
        result["music of the demo"] = measure_music(options)
        save(options, result)
    print(json.dumps(result))
    if wrong := [figures["error"] for figures in lengths.values() if "error" in figures]:
        sys.exit(wrong[0])


def save(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write the figures so far."""
    if options.save is not None:
        options.save.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
