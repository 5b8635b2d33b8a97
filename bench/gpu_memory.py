"""Compare the planned memory of a GPU with what a full batch takes.

    python bench/gpu_memory.py --device cuda:0 --model musicgen-large --free 24 48

For each size in --free, in gigabytes, all other memory is filled, as if the card were smaller; 0
leaves all of it. The engine then plans its slots (`musicgen/engine/pytorch/cuda/memory.py`), and as
many callers as fit make a clip of --seconds at once, their sound decoded together.
`slots_over_plan` compares the memory of the slots with the plan's. `fitting_rows` are the planned
rows and those for which the remaining memory would do; `planned_over_fitting` is the share in use:
1 would be a plan without a reserve. `failed` counts calls that ran out of memory. On a processor (a
dry run) the figures of a device are 0. The last line is one JSON object, saved after each size.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import torch

from bench.contestants import GUIDANCE, PROMPT, TOP_K
from bench.decode import machine
from bench.gpu_options import build_parser, open_checkpoint
from musicgen.checkpoints.weights import load_model
from musicgen.engine.interface import GenerationJob, Row, run_to_end
from musicgen.engine.pytorch.cuda.memory import (
    PROMPT_TOKENS,
    RESERVED_FRACTION,
    choose_runner,
    compute_slot_capacity,
)
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.engine.pytorch.loading import build_engine, join_recurrent_weights
from musicgen.errors import OutOfMemory
from musicgen.model.config import MusicGenConfig
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import Tokenize, load_tokenizer
from musicgen.process.resources import free_memory
from musicgen.request import SamplingParams

MANY_ROWS, DRY_ROWS = 4096, 4
GIGABYTE = 10**9


def read_used(device: str) -> tuple[int, int]:
    """Return the bytes of tensors, and the free bytes of the card; zeros on a processor."""
    if device == "cpu":
        return 0, 0
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated(), int(torch.cuda.mem_get_info(torch.device(device))[0])


def fill(device: str, free: float) -> torch.Tensor:
    """Return a tensor that leaves `free` gigabytes of the card; an empty one for 0."""
    spare = (free_memory(device) or 0) - free * GIGABYTE
    size = max(0, int(spare)) if free and device != "cpu" else 0
    return torch.empty(size, dtype=torch.uint8, device=device)


def measure(
    options: argparse.Namespace, model: MusicGen, tokenize: Tokenize, free: float
) -> dict[str, Any]:
    """Return the planned and the measured memory of a full batch with `free` gigabytes."""
    device = options.device
    ballast = fill(device, free)
    wanted = DRY_ROWS if device == "cpu" else MANY_ROWS
    tensors, before = read_used(device)
    runner, rows = choose_runner(model, device, wanted)
    slots = read_used(device)[0] - tensors
    size = model.decoder.embeddings.element_size()
    capacity = compute_slot_capacity(model)
    row_bytes = RowSlots.compute_row_bytes(model.decoder.config, capacity, PROMPT_TOKENS, size)
    clips = max(1, rows // 2)
    engine = build_engine(
        model, tokenize, options.precision, rows=rows, max_waiting=clips, runner=runner
    )
    frames = round(options.seconds * model.config.frame_rate)
    sampling = SamplingParams(1.0, TOP_K, 0.0, GUIDANCE)

    def call(seed: int) -> bool:
        try:
            run_to_end(engine.generate(GenerationJob((Row(PROMPT, seed, sampling),), frames)))
        except OutOfMemory:
            return False
        return True

    with ThreadPoolExecutor(clips) as callers:
        complete = sum(callers.map(call, range(clips)))
    # The allocator keeps what it had at the peak, so the rest was free throughout.
    after = read_used(device)[1]
    fitting = rows + after / row_bytes
    engine.close()
    del ballast
    return {
        "free_gb": round(before / 1e9, 3),
        "rows": rows,
        "in_slots": runner.slots is not None,
        "callers": clips,
        "failed": clips - complete,
        "row_mb": round(row_bytes / 1e6, 2),
        "slots_over_plan": round(slots / (rows * row_bytes), 4),
        "free_at_the_peak_gb": round(after / 1e9, 3),
        "planned_use": 1 - RESERVED_FRACTION,
        "measured_use": round(1 - after / before, 4) if before else 0.0,
        "fitting_rows": round(fitting, 1),
        "planned_over_fitting": round(rows / fitting, 4),
    }


def main() -> None:
    from musicgen.process.resources import cpu_quota

    parser = build_parser(__doc__)
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--free", type=float, nargs="+", default=[24.0], help="gigabytes")
    options = parser.parse_args()
    torch.set_num_threads(cpu_quota())
    sizes: dict[str, Any] = {}
    report = {
        "name": "gpu_memory",
        "machine": machine(options.device, cpu_quota()),
        "model": options.model,
        "seconds_of_audio": options.seconds,
        "sizes": sizes,
    }
    with open_checkpoint(options) as folder:
        config, device = MusicGenConfig.from_folder(folder), torch.device(options.device)
        model = load_model(folder, config, device, getattr(torch, options.precision))
        join_recurrent_weights(model)
        for free in options.free:
            try:
                sizes[f"{free:g} GB"] = measure(options, model, load_tokenizer(folder), free)
            except Exception as error:  # the other sizes must still be measured
                sizes[f"{free:g} GB"] = {"error": f"{type(error).__name__}: {error}"[:300]}
            print(free, json.dumps(sizes[f"{free:g} GB"]), flush=True)
            if options.save is not None:
                options.save.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
