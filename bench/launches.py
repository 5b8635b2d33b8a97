"""Measure prompts and pieces of sound as CUDA graphs, and the codec in a CUDA stream of its own.

    python bench/launches.py --device cuda:0 --model musicgen-large

Every form has the same weights and slots in one process. "off" runs the text encoder and the codec
operator by operator, in the stream of the decode steps. "prompts" and "pieces" capture one of them
as CUDA graphs, "stream" runs the codec in a stream of its own, "all" does all three.

`prompt_ms` and `piece_ms` are one prompt and one steady half second of sound, waits included.
`first_sound` is the time from a call to the first samples of a clip of --seconds, alone.
`busy_first_sound` is the same with --callers and clips of --busy-seconds, and `audio_per_second`
their throughput. All but that are medians. Ratios compare with "off": above 1, the form is faster.
On a processor (a dry run) the same work runs uncaptured. The last line is one JSON object, saved
after each form.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from bench.contestants import GUIDANCE, PROMPT, TOP_K, synchronize
from bench.decode import machine
from musicgen.engine.engine import STREAM_STEPS, MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.backend import TorchBackend
from musicgen.engine.pytorch.cuda.launch import LaunchOptions
from musicgen.engine.pytorch.loading import build_engine, load_checkpoint
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams

FORMS = {
    "off": LaunchOptions(),
    "prompts": LaunchOptions(prompt_graphs=True),
    "pieces": LaunchOptions(codec_graphs=True),
    "stream": LaunchOptions(codec_stream=True),
    "all": LaunchOptions(True, True, True),
}
TIMED = ("prompt_ms", "piece_ms", "first_sound", "busy_first_sound")
CALLS = 20


def measure(engine: MusicGenEngine, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one form. The first calls capture graphs and do not count."""
    backend, device = engine.backend, options.device
    assert isinstance(backend, TorchBackend)
    row = Row(PROMPT, 0, SamplingParams(1.0, TOP_K, 0.0, GUIDANCE))
    codes = np.zeros((engine.config.decoder.codebooks, STREAM_STEPS), np.int64)
    sound = backend.open_stream()

    def encode() -> None:
        backend.build_conditioning([row], None)
        synchronize(device)

    figures: dict[str, Any] = {
        "prompt_ms": _time_calls(encode),
        "piece_ms": _time_calls(lambda: sound.push(codes, False)),
    }
    frames = round(options.seconds * engine.config.frame_rate)
    alone = [_hear(engine, seed, frames, whole=False)[0] for seed in range(options.rounds + 1)]
    figures["first_sound"] = statistics.median(alone[1:])
    frames = round(options.busy_seconds * engine.config.frame_rate)
    for _ in range(2):
        started = time.perf_counter()
        with ThreadPoolExecutor(options.callers) as pool:
            calls = [pool.submit(_hear, engine, seed, frames) for seed in range(options.callers)]
            firsts = [call.result()[0] for call in calls]
        elapsed = time.perf_counter() - started
    figures["busy_first_sound"] = statistics.median(firsts)
    figures["audio_per_second"] = options.callers * options.busy_seconds / elapsed
    return {
        **{name: round(value, 4) for name, value in figures.items()},
        "captured_prompts": 0 if backend.prompts is None else len(backend.prompts.graphs),
        "captured_pieces": 0 if backend.codec.pieces is None else len(backend.codec.pieces.graphs),
    }


def _time_calls(call: Callable[[], object]) -> float:
    """Return the median milliseconds of a call."""
    times = []
    for number in range(CALLS + 5):
        started = time.perf_counter()
        call()
        if number >= 5:
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def _hear(
    engine: MusicGenEngine, seed: int, frames: int, *, whole: bool = True
) -> tuple[float, float]:
    """Make one live clip. Returns: seconds to its first sound, and to the end of what was made."""
    row = Row(PROMPT, seed, SamplingParams(1.0, TOP_K, 0.0, GUIDANCE))
    started, first = time.perf_counter(), 0.0
    steps = engine.generate(GenerationJob((row,), frames, stream=True))
    for progress in steps:
        if not first and any(len(pcm) for pcm in progress.pcm):
            first = time.perf_counter() - started
            if not whole:
                break
    steps.close()
    return first, time.perf_counter() - started


def compare(forms: dict[str, Any]) -> dict[str, float]:
    """Return the ratios of every form against "off"."""
    off, ratios = forms.get("off", {}), {}
    for form, figures in forms.items():
        if form == "off" or "error" in figures or "error" in off:
            continue
        for name in TIMED:
            ratios[f"{name}, {form} over off"] = round(off[name] / figures[name], 3)
        gain = figures["audio_per_second"] / off["audio_per_second"]
        ratios[f"audio_per_second, {form} over off"] = round(gain, 3)
    return ratios


def main() -> None:
    from bench.full_size import build_full_size
    from musicgen.process.resources import cpu_quota

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="musicgen-small", help="shapes of a published model")
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--busy-seconds", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5, help="clips alone")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(cpu_quota())
    forms: dict[str, Any] = {}
    report = {
        "name": "launches",
        "machine": machine(options.device, cpu_quota()),
        "model": options.model,
        "seconds_of_audio": options.seconds,
        "callers": options.callers,
        "busy_seconds_of_audio": options.busy_seconds,
        "forms": forms,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.checkpoint or Path(scratch) / options.model
        build_full_size(options.model, folder, device=options.device)
        rows, config = 2 * options.callers, MusicGenConfig.from_folder(folder)
        loaded = load_checkpoint(folder, config, options.device, options.precision, rows=rows)
        backend = loaded.backend
        assert isinstance(backend, TorchBackend)
        for form in options.forms:
            parts = (backend.model, backend.tokenize, options.precision)
            engine = build_engine(*parts, rows=rows, runner=backend.runner, launch=FORMS[form])
            try:
                forms[form] = measure(engine, options)
            except Exception as error:  # the other forms must still be measured
                forms[form] = {"error": f"{type(error).__name__}: {error}"[:300]}
            print(form, json.dumps(forms[form]), flush=True)
            report["ratios"] = compare(forms)
            if options.save is not None:
                options.save.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
