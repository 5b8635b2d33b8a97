"""Contestants of `bench/decode.py`: each loads a checkpoint and returns a function to time a clip.

The function takes a seed and returns seconds. Imports are inside the functions, because each
contestant has its own process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

PROMPT = "80s pop track with bassy drums and synth"
TOP_K = 250
GUIDANCE = 3.0
Run = dict[str, float]


def load_ours(
    folder: Path, device: str, precision: str, seconds: float, **options: Any
) -> Callable[[int], Run]:
    """Load this engine from a checkpoint's folder."""
    from musicgen.engine.pytorch.loading import load_checkpoint
    from musicgen.model.config import MusicGenConfig

    config = MusicGenConfig.from_folder(folder)
    engine = load_checkpoint(folder, config, device, precision, **options)
    return time_clips(engine, round(seconds * config.frame_rate))


def load_packed(folder: Path, device: str, precision: str, seconds: float) -> Callable[[int], Run]:
    """Load this engine from a packed file, as a worker on a processor does."""
    engine = load_packed_engine(folder, precision)
    return time_clips(engine, round(seconds * engine.config.frame_rate))


def load_packed_engine(folder: Path, precision: str, slots: int = 1) -> Any:
    """Pack a checkpoint for a processor and load the file; `slots`: clips in a batch."""
    from musicgen.checkpoints.locate import locate
    from musicgen.checkpoints.pack import pack
    from musicgen.engine.loading import load_engine
    from musicgen.settings import Settings

    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        path = Path(scratch) / "model.packed"
        pack(locate(str(folder)), f"native-{precision}", path)
        name, threads = str(path), torch.get_num_threads()
        settings = Settings(model=name, device="cpu", threads=threads, slots=slots)
        # The engine keeps the file mapped when its name is gone.
        return load_engine(locate(name).folder, name, settings)


def time_clips(engine: Any, frames: int) -> Callable[[int], Run]:
    """Return a function from a seed to the seconds of a clip of `frames`."""
    from musicgen.engine.interface import GenerationJob, Row, run_to_end
    from musicgen.request import SamplingParams

    sampling = SamplingParams(1.0, TOP_K, 0.0, GUIDANCE)

    def run(seed: int) -> Run:
        job = GenerationJob((Row(PROMPT, seed, sampling),), frames)
        started = time.perf_counter()
        output = run_to_end(engine.generate(job))
        total = time.perf_counter() - started
        return {"total": total, "step": output.timings.decode / output.steps}

    return run


def load_plain(folder: Path, device: str, precision: str, seconds: float) -> Callable[[int], Run]:
    """Load this engine without its compiled C++."""
    return load_ours(folder, device, precision, seconds, compiled=False)


def load_fused(folder: Path, device: str, precision: str, seconds: float) -> Callable[[int], Run]:
    """Load this engine with layers compiled by torch, for a GPU."""
    return load_ours(folder, device, precision, seconds, torch_compile=True)


def load_kernels(folder: Path, device: str, precision: str, seconds: float) -> Callable[[int], Run]:
    """Load this engine with its Triton kernels, for a GPU."""
    from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions

    return load_ours(folder, device, precision, seconds, kernels=KernelOptions())


def load_static(folder: Path, device: str, precision: str, seconds: float) -> Callable[[int], Run]:
    """Load transformers with a static cache and its compiled step, for a GPU."""
    return load_transformers(folder, device, precision, seconds, cache_implementation="static")


def load_transformers(
    folder: Path, device: str, precision: str, seconds: float, **options: str
) -> Callable[[int], Run]:
    """Load transformers' own loop, called as in its documentation."""
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    model = MusicgenForConditionalGeneration.from_pretrained(
        folder, dtype=getattr(torch, precision)
    )
    model = model.to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    decode_codes = model.audio_encoder.decode
    codec_seconds = 0.0

    def time_codec(*args: Any, **kwargs: Any) -> Any:
        nonlocal codec_seconds
        synchronize(device)
        started = time.perf_counter()
        output = decode_codes(*args, **kwargs)
        synchronize(device)
        codec_seconds = time.perf_counter() - started
        return output

    model.audio_encoder.decode = time_codec
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
    """Wait for a GPU's work."""
    if device != "cpu":
        torch.cuda.synchronize()


def load_openvino(
    folder: Path, device: str, precision: str, seconds: float
) -> Callable[[int], Run]:
    """Load OpenVINO with the converted weights."""
    from bench.graph_contestants import load_graphs

    return load_graphs("openvino", folder, precision, seconds)


def load_onnxruntime(
    folder: Path, device: str, precision: str, seconds: float
) -> Callable[[int], Run]:
    """Load ONNX Runtime with the converted weights."""
    from bench.graph_contestants import load_graphs

    return load_graphs("onnxruntime", folder, precision, seconds)


ENGINES: dict[str, Callable[[Path, str, str, float], Callable[[int], Run]]] = {
    "musicgen": load_ours,
    "musicgen-compiled": load_fused,
    "musicgen-kernels": load_kernels,
    "onnxruntime": load_onnxruntime,
    "openvino": load_openvino,
    "packed": load_packed,
    "pytorch": load_plain,
    "transformers": load_transformers,
    "transformers-static": load_static,
}
