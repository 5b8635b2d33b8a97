"""Who makes the clips in `bench/decode.py`: each from a checkpoint a function from a seed to what a
clip took. Imports wait until a contestant is made, in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

PROMPT = "80s pop track with bassy drums and synth"
TOP_K = 250
GUIDANCE = 3.0
Run = dict[str, float]


def ours(
    folder: Path, device: str, precision: str, seconds: float, **options: bool
) -> Callable[[int], Run]:
    """A function from a seed to the seconds of one clip."""
    from musicgen.engine.engine import MusicGenEngine
    from musicgen.engine.interface import GenerationJob, Row
    from musicgen.model.config import MusicGenConfig
    from musicgen.request import SamplingParams

    config = MusicGenConfig.from_folder(folder)
    engine = MusicGenEngine.load(folder, config, device, precision, **options)
    sampling = SamplingParams(1.0, TOP_K, 0.0, GUIDANCE)

    def run(seed: int) -> Run:
        job = GenerationJob((Row(PROMPT, seed, sampling),), round(seconds * config.frame_rate))
        started = time.perf_counter()
        steps = engine.generate(job)
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                output = finished.value
                break
        total = time.perf_counter() - started
        return {"total": total, "step": output.timings.decode / output.steps}

    return run


def plain(folder: Path, device: str, precision: str, seconds: float) -> Callable[[int], Run]:
    """This engine where its C++ was not compiled."""
    return ours(folder, device, precision, seconds, compiled=False)


def fused(folder: Path, device: str, precision: str, seconds: float) -> Callable[[int], Run]:
    """This engine with its layers compiled by torch, on a GPU."""
    return ours(folder, device, precision, seconds, torch_compile=True)


def compiled(folder: Path, device: str, precision: str, seconds: float) -> Callable[[int], Run]:
    """transformers with a static cache, whose step it compiles on a GPU."""
    return theirs(folder, device, precision, seconds, cache_implementation="static")


def theirs(
    folder: Path, device: str, precision: str, seconds: float, **options: str
) -> Callable[[int], Run]:
    """transformers' own loop, called as its documentation says."""
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    model = MusicgenForConditionalGeneration.from_pretrained(
        folder, dtype=getattr(torch, precision)
    )
    model = model.to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    decode_codes = model.audio_encoder.decode
    codec_seconds = 0.0

    def timed_codec(*args: Any, **kwargs: Any) -> Any:
        nonlocal codec_seconds
        synchronize(device)
        started = time.perf_counter()
        output = decode_codes(*args, **kwargs)
        synchronize(device)
        codec_seconds = time.perf_counter() - started
        return output

    model.audio_encoder.decode = timed_codec
    frame_rate = model.config.audio_encoder.frame_rate
    steps = round(seconds * frame_rate) + model.config.decoder.num_codebooks - 1

    def run(seed: int) -> Run:
        torch.manual_seed(seed)
        started = time.perf_counter()
        inputs = tokenizer([PROMPT], return_tensors="pt").to(device)
        model.generate(
            **inputs,
            **options,
            do_sample=True,
            top_k=TOP_K,
            guidance_scale=GUIDANCE,
            max_new_tokens=steps,
        )
        synchronize(device)
        total = time.perf_counter() - started
        return {"total": total, "step": (total - codec_seconds) / steps}

    return run


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


ENGINES: dict[str, Callable[[Path, str, str, float], Callable[[int], Run]]] = {
    "musicgen": ours,
    "musicgen-compiled": fused,
    "pytorch": plain,
    "transformers": theirs,
    "transformers-static": compiled,
}
