"""Contestants that run converted graphs: OpenVINO and ONNX Runtime.

Each makes a whole clip: its own step for every column, sampling in numpy, its own codec. Only the
call of the step counts as the time of a step, without the sampling, and the prompt is encoded
before: two advantages over this engine, whose step includes guidance, sampling and the batch.
The logits are checked against the float32 decoder before the first clip.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch

from bench.step_graph import check_step, compute_reference, load_subject, run_clip

Run = dict[str, float]
NEEDS = {"openvino": ("openvino", "nncf"), "onnxruntime": ("onnx", "onnx_ir", "onnxruntime")}
"""Modules of the extra `bench` by runtime."""


def find_missing(contestant: str) -> str | None:
    """Return the first module that `contestant` lacks, or None."""
    needs = NEEDS.get(contestant.split()[0], ())
    return next((name for name in needs if find_spec(name) is None), None)


def select_installed(contestants: list[str], device: str) -> list[str]:
    """Return the contestants that can run here; print a notice for each of the others."""
    kept = []
    for name in contestants:
        missing = find_missing(name)
        if missing is not None:
            print(f"{name} is left out: {missing} is not installed (pip install -e '.[bench]').")
        elif name.split()[0] in NEEDS and device != "cpu":
            print(f"{name} is left out: it runs on a processor only.")
        else:
            kept.append(name)
    return kept


def load_graphs(runtime: str, folder: Path, precision: str, seconds: float) -> Callable[[int], Run]:
    """Load a runtime's step and codec. Raises: `AssertionError` if its logits are wrong."""
    if runtime == "openvino":
        from bench.openvino_models import load_codec, load_step
    else:
        from bench.onnx_models import load_codec, load_step

    threads = torch.get_num_threads()
    subject = load_subject(folder)
    reference = compute_reference(subject)
    step, about = load_step(folder, subject, precision, threads)
    print(f"{runtime} {precision}: {about}", flush=True)
    error = check_step(step, reference, precision)
    config = subject.model.config
    decode = load_codec(folder, subject.model.codec, precision, threads)
    del subject, reference
    frames = round(seconds * config.frame_rate)
    steps = frames + config.decoder.codebooks - 1

    def run(seed: int) -> Run:
        started = time.perf_counter()
        codes, in_steps = run_clip(step, config, frames, seed)
        decode(codes)
        total = time.perf_counter() - started
        return {"total": total, "step": in_steps / steps, "logits_error": error}

    return run
