"""Measure what fewer bits cost on a GPU: tokens, logits and likelihood against float32 there.

    python bench/gpu_precision.py --device cuda:0 --model musicgen-small

The float32 engine (TF32 off) makes clips, greedy and sampled. Every other form makes the same clips
from the same random numbers: "tokens" counts the equal ones and gives the first frame with a
difference; after it the clips are different music. It also gets the float32 tokens (teacher
forcing): "logits" has the relative error, top-1 agreement, KL divergence and the nats of a token.
int8 and fp8 (E4M3) are weights alone, with one scale for each output, computed in bfloat16: their
rounding is measured here, not their speed. "int8 KV cache" are steps of the Triton kernels in slots
with an 8-bit cache; on a processor the kernels' twins stand in for these. With --music (pairs of
NAME.wav and NAME.txt) "logits" are those of the music. "float32 again" repeats the reference, and
"float32 in a batch" makes the clips beside seven others. The last line is one JSON object, saved
after each form.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from torch import Tensor

from bench.contestants import PROMPT
from bench.decode import machine
from bench.gpu_options import build_parser, open_checkpoint
from bench.precision import Case, build_music_cases, build_sequence, compare, logits
from bench.slot_logits import build_runner, compute_slot_logits
from musicgen.checkpoints.weights import load_model
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row, run_to_end
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.engine.pytorch.loading import build_engine
from musicgen.model.config import MusicGenConfig
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import load_tokenizer
from musicgen.request import SamplingParams

SAMPLINGS = {
    "greedy": SamplingParams(temperature=0.0, top_k=1, guidance=3.0),
    "sampled": SamplingParams(temperature=1.0, top_k=250, guidance=3.0),
}
SEEDS = (0, 1)
ROWS = 16


def round_to_int8(weight: Tensor) -> Tensor:
    """Round the rows of `weight` to 8-bit integers times a scale."""
    scale = weight.float().abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return (torch.round(weight.float() / scale) * scale).to(weight.dtype)


def round_to_fp8(weight: Tensor) -> Tensor:
    """Round the rows of `weight` to E4M3 times a scale."""
    scale = weight.float().abs().amax(1, keepdim=True).clamp(min=1e-12) / 448
    return ((weight.float() / scale).to(torch.float8_e4m3fn).float() * scale).to(weight.dtype)


@dataclass(frozen=True)
class PrecisionForm:
    """One form: the type of the weights, their rounding, and the kernels of the steps."""

    dtype: torch.dtype
    rounding: Callable[[Tensor], Tensor] | None = None
    kernels: KernelOptions | None = None


INT8_CACHE = KernelOptions(kv_cache="int8")
FORMS = {
    "float32 again": PrecisionForm(torch.float32),
    "bfloat16": PrecisionForm(torch.bfloat16),
    "float16": PrecisionForm(torch.float16),
    "int8 weights": PrecisionForm(torch.bfloat16, round_to_int8),
    "fp8 weights": PrecisionForm(torch.bfloat16, round_to_fp8),
    "float32, int8 KV cache": PrecisionForm(torch.float32, kernels=INT8_CACHE),
    "bfloat16, int8 KV cache": PrecisionForm(torch.bfloat16, kernels=INT8_CACHE),
}


def load_form(
    folder: Path, config: MusicGenConfig, device: str, form: PrecisionForm
) -> tuple[MusicGen, MusicGenEngine]:
    """Load one form of the model, and an engine of it."""
    model = load_model(folder, config, torch.device(device), form.dtype)
    if form.rounding is not None:
        for name, weight in model.decoder.named_parameters():
            if weight.dim() == 2 and name != "embeddings":
                weight.data = form.rounding(weight.data)
    runner, rows = build_runner(model, device, ROWS, form.kernels)
    engine = build_engine(model, load_tokenizer(folder), "float32", rows=rows, runner=runner)
    return model, engine


def make_clips(engine: MusicGenEngine, frames: int, seeds: tuple[int, ...] = SEEDS) -> Any:
    """Return the codes of clips by sampling: (clips, codebooks, frames)."""
    return {
        name: np.stack(
            [
                run_to_end(
                    engine.generate(GenerationJob((Row(PROMPT, seed, params),), frames))
                ).codes[0]
                for seed in seeds
            ]
        )
        for name, params in SAMPLINGS.items()
    }


def make_in_a_batch(engine: MusicGenEngine, frames: int) -> Any:
    """Return the same clips, made beside six others in one batch."""
    made = {}
    for name, params in SAMPLINGS.items():
        rows = tuple(Row(PROMPT, seed, params) for seed in range(ROWS // 2))
        made[name] = run_to_end(engine.generate(GenerationJob(rows, frames))).codes[: len(SEEDS)]
    return made


def count_equal(clips: Any, expected: Any) -> dict[str, dict[str, int]]:
    """Count equal tokens by sampling, and the first frame with a difference (-1: none)."""
    counts = {}
    for name, codes in expected.items():
        same = np.asarray(clips[name]) == codes
        differing = np.flatnonzero(~same.all(axis=(0, 1)))
        counts[name] = {
            "equal": int(same.sum()),
            "of": int(same.size),
            "first_difference": int(differing[0]) if len(differing) else -1,
        }
    return counts


def measure(options: argparse.Namespace, folder: Path, report: dict[str, Any]) -> None:
    """Fill `report` with the figures of every form, and save it after each."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    config, device = MusicGenConfig.from_folder(folder), options.device
    model, engine = load_form(folder, config, device, PrecisionForm(torch.float32))
    expected = make_clips(engine, options.frames)
    text = load_tokenizer(folder)(PROMPT)
    cases = [
        Case(text, build_sequence(model, torch.from_numpy(np.asarray(codes[0]))))
        for codes in expected.values()
    ]
    if options.music is not None:
        cases = build_music_cases(folder, model, options.music, options.frames)
    reference = [logits(model, case, 2) for case in cases]
    report["forms"]["float32 in a batch"] = {
        "tokens": count_equal(make_in_a_batch(engine, options.frames), expected)
    }
    engine.close()
    del engine, model
    for name in options.forms:
        gc.collect()
        if device != "cpu":
            torch.cuda.empty_cache()
        started = time.perf_counter()
        try:
            loaded = load_form(folder, config, device, FORMS[name])
            in_slots = FORMS[name].kernels is not None
            form = measure_form(loaded, options, cases, reference, in_slots=in_slots)
            report["forms"][name] = form
            form["tokens"] = count_equal(form.pop("clips"), expected)
        except Exception as error:  # the other forms must still be measured
            report["forms"][name] = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(f"{name}: {time.perf_counter() - started:.1f} s {report['forms'][name]}", flush=True)
        if options.save is not None:
            options.save.write_text(json.dumps(report, indent=1) + "\n")


def measure_form(
    loaded: tuple[MusicGen, MusicGenEngine],
    options: argparse.Namespace,
    cases: list[Case],
    reference: list[Tensor],
    *,
    in_slots: bool,
) -> dict[str, Any]:
    """Return the clips of one form and the differences of its logits, computed in slots or not."""
    model, engine = loaded
    clips = make_clips(engine, options.frames)
    differences = [
        compare(
            case,
            compute_slot_logits(engine, case) if in_slots else logits(model, case, 2),
            known,
        )
        for case, known in zip(cases, reference, strict=True)
    ]
    engine.close()
    means = {
        key: round(sum(part[key] for part in differences) / len(differences), 6)
        for key in differences[0]
    }
    return {"clips": clips, "logits": means}


def main() -> None:
    from musicgen.process.resources import cpu_quota

    parser = build_parser(__doc__)
    parser.add_argument("--frames", type=int, default=150, help="of each clip")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--music", type=Path, help="folder of NAME.wav and NAME.txt")
    options = parser.parse_args()
    if options.music is not None and options.checkpoint is None:
        parser.error("--music needs a trained model: name its folder with --checkpoint")
    torch.set_num_threads(cpu_quota())
    report: dict[str, Any] = {
        "name": "gpu_precision",
        "machine": machine(options.device, cpu_quota()),
        "model": options.model,
        "frames": options.frames,
        "forms": {},
    }
    # Music is for a trained model: --checkpoint then has one, not random weights.
    trained = nullcontext(options.checkpoint) if options.music else None
    with trained or open_checkpoint(options) as folder:
        measure(options, folder, report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
