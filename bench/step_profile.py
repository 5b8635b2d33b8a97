"""Profile decode steps: kernels and their time, launches, and gaps in which the device waits.

    python bench/step_profile.py --device cuda:0 --model musicgen-large

Runs the engine's steps in slots, eagerly and as CUDA graphs, also with this project's kernels, and
reads PyTorch's profiler. "int8" and "fp8" are weights of 8 bits, which "roofline_ms" counts.
"step_ms" is measured without the profiler. "busy_ms" is the union of the kernels' times in one
step, and "gap_ms" the rest of the span from the first kernel to the last: launches cause gaps.
Kernels stand with calls and microseconds of one step, longest first. On a processor (a dry run) the
operators of PyTorch stand in for kernels. The last line is one JSON object, saved after each form.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from bench.contestants import GUIDANCE, PROMPT, TOP_K, synchronize
from bench.decode import machine
from bench.roofline import bytes_of_step, read_bandwidth
from musicgen.engine.interface import Row
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.engine.pytorch.cuda.memory import ALIGNMENT, fuse_layers
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.engine.pytorch.decode_state import DecodeState
from musicgen.engine.pytorch.loading import load_checkpoint
from musicgen.model.config import MusicGenConfig
from musicgen.model.native.draws import NumpyDraws
from musicgen.request import SamplingParams

FORMS = (
    *("eager", "graph", "kernel graph", "overlap kernel graph"),
    *("int8 kernel graph", "fp8 kernel graph", "compiled graph"),
)
ROUNDED = ("int8", "fp8")
LARGEST = 25


def start_state(engine: Any, runner: SlotRunner, clips: int, frames: int) -> DecodeState:
    """Prefill `clips` guided clips and put them into the runner's slots."""
    backend = engine.backend
    sampling = SamplingParams(1.0, TOP_K, 0.0, GUIDANCE)
    rows = [Row(PROMPT, seed, sampling) for seed in range(clips)]
    conditioning = backend.build_conditioning(rows, None)
    known = torch.zeros(clips, engine.config.decoder.codebooks, 0, dtype=torch.int64)
    draws = NumpyDraws([row.seed for row in rows])
    state = DecodeState(
        backend.model.decoder, rows, frames, conditioning, known, draws, slots=runner.slots
    )
    state.prefill()
    runner.admit(state)
    return state


@torch.inference_mode()
def measure(options: argparse.Namespace, engine: Any, form: str) -> dict[str, Any]:
    """Return times and kernels of a step, with `options.clips` guided clips."""
    config, device = engine.config, options.device
    steps = options.position + options.warm_up + 2 * options.steps + 16
    # As the engine plans it: for another length, attention would copy its mask in each layer.
    capacity = -(-steps // ALIGNMENT) * ALIGNMENT
    decoder = engine.backend.model.decoder
    fused, weights = None, next((name for name in ROUNDED if name in form), "")
    if "kernel" in form:
        kernels = KernelOptions(weights, overlap="overlap" in form)
        fused = fuse_layers(engine.backend.model, kernels)
    slots = RowSlots(
        decoder, 2 * options.clips, capacity, 64, compiled="compiled" in form, fused=fused
    )
    runner = SlotRunner(slots, capture="graph" in form and device != "cpu")
    state = start_state(engine, runner, options.clips, capacity - config.decoder.codebooks)
    for _ in range(options.position + options.warm_up):
        runner.step([state])
    synchronize(device)
    started = time.perf_counter()
    for _ in range(options.steps):
        runner.step([state])
    queued = time.perf_counter() - started
    synchronize(device)
    step = (time.perf_counter() - started) / options.steps
    activities = [ProfilerActivity.CPU]
    if device != "cpu":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for _ in range(options.steps):
            runner.step([state])
        synchronize(device)
    read = bytes_of_step(
        config.decoder,
        "int8" if weights else options.precision,
        options.position,
        rows=2 * options.clips,
        cached_bytes=decoder.embeddings.element_size(),
    )
    figures = {
        "step_ms": round(1000 * step, 4),
        "host_ms": round(1000 * queued / options.steps, 4),
        "roofline_ms": round(1000 * read / read_bandwidth(device), 4),
        "captured": len(runner.graphs) > 0,
        "own_kernels": fused is not None,
        "own_products": fused is not None and fused.kernels.multiply is not None,
        **read_events(profiler.events(), device, options.steps),
    }
    runner.release(state)
    return figures


def read_events(events: Any, device: str, steps: int) -> dict[str, Any]:
    """Return counts and times of one step from the events of `steps` steps."""
    wanted = DeviceType.CPU if device == "cpu" else DeviceType.CUDA
    kernels, launches = [], 0
    for event in events:
        if event.device_type == wanted and (device != "cpu" or not event.cpu_children):
            kernels.append((event.time_range.start, event.time_range.end, event.name))
        elif event.name.startswith(("cudaLaunch", "cuLaunch", "cudaGraphLaunch")):
            launches += 1
    by_name: dict[str, list[float]] = defaultdict(list)
    for start, end, name in kernels:
        by_name[name].append(end - start)
    busy = _measure_union([(start, end) for start, end, _ in kernels])
    span = max(k[1] for k in kernels) - min(k[0] for k in kernels) if kernels else 0.0
    ordered = sorted(by_name.items(), key=lambda item: -sum(item[1]))
    return {
        "kernels": round(len(kernels) / steps, 2),
        "host_launches": round(launches / steps, 2),
        "copies": round(
            sum(len(t) for n, t in by_name.items() if "memcpy" in n.lower()) / steps, 2
        ),
        "busy_ms": round(busy / steps / 1000, 4),
        "gap_ms": round((span - busy) / steps / 1000, 4),
        "by_kernel": {
            name[:120]: {
                "calls": round(len(times) / steps, 2),
                "microseconds": round(sum(times) / steps, 2),
            }
            for name, times in ordered[:LARGEST]
        },
    }


def _measure_union(spans: list[tuple[float, float]]) -> float:
    """Return the length of the union of `spans`: kernels of two streams may overlap."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def main() -> None:
    from bench.full_size import build_full_size
    from musicgen.process.resources import cpu_quota

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="musicgen-small", help="shapes of a published model")
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--position", type=int, default=500, help="steps before the measurement")
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(cpu_quota())
    report: dict[str, Any] = {
        "name": "step_profile",
        "machine": machine(options.device, cpu_quota()),
        "model": options.model,
        "precision": options.precision,
        "clips": options.clips,
        "position": options.position,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.checkpoint or Path(scratch) / options.model
        build_full_size(options.model, folder, device=options.device)
        config = MusicGenConfig.from_folder(folder)
        # The bench makes slots of its own, so the engine gets room for none.
        engine = load_checkpoint(
            folder, config, options.device, options.precision, rows=1, compiled=False
        )
        for form in options.forms:
            try:
                report[form] = measure(options, engine, form)
            except Exception as error:  # the other forms must still be measured
                report[form] = {"error": f"{type(error).__name__}: {error}"[:300]}
            shown = {key: v for key, v in report[form].items() if key != "by_kernel"}
            print(form, json.dumps(shown), flush=True)
            if options.save is not None:
                options.save.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
