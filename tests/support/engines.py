"""Our side of the comparisons: engines on toy checkpoints, and jobs run to their end."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from musicgen.checkpoints.weights import load_model
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import Engine, EngineOutput, GenerationJob, Pcm, Row
from musicgen.engine.pytorch.backend import TorchBackend
from musicgen.engine.pytorch.conditioning import build_conditioning
from musicgen.engine.pytorch.decode_state import DecodeState
from musicgen.engine.pytorch.loading import load_checkpoint
from musicgen.model.config import MusicGenConfig
from musicgen.model.musicgen import MusicGen
from musicgen.model.native.draws import NumpyDraws
from musicgen.request import SamplingParams
from musicgen.result import Progress

PROMPTS = ["slow calm piano in C minor", "upbeat drums and synth with a very long fast melody"]


BOTH_FORMS = pytest.mark.parametrize("compiled", [True, False], ids=["native", "layers"])
"""The step in C++, and layer by layer in PyTorch as on a GPU or where there is no compiler."""


@functools.cache
def engine(folder: Path, precision: str = "float32", *, compiled: bool = True) -> MusicGenEngine:
    config = MusicGenConfig.from_folder(folder)
    return load_checkpoint(folder, config, "cpu", precision, compiled=compiled)


@functools.cache
def model(folder: Path) -> MusicGen:
    config = MusicGenConfig.from_folder(folder)
    return load_model(folder, config, torch.device("cpu"), torch.float32)


def backend_of(engine: MusicGenEngine) -> TorchBackend:
    assert isinstance(engine.backend, TorchBackend)
    return engine.backend


def model_of(engine: MusicGenEngine) -> MusicGen:
    return backend_of(engine).model


def greedy(guidance: float = 3.0) -> SamplingParams:
    return SamplingParams(temperature=0.0, top_k=1, guidance=guidance)


def decode_state(engine: MusicGenEngine, job: GenerationJob) -> DecodeState:
    """Of a job of one window, without an audio prompt, before its first step."""
    model, config = model_of(engine), engine.config
    with torch.inference_mode():
        conditioning = build_conditioning(model, backend_of(engine).tokenize, job.rows, None)
        known = torch.zeros(len(job.rows), config.decoder.codebooks, 0, dtype=torch.int64)
        draws = NumpyDraws([row.seed for row in job.rows])
        state = DecodeState(model.decoder, job.rows, job.frames, conditioning, known, draws)
        assert state.prefill()
        return state


def run(engine: Engine, job: GenerationJob) -> EngineOutput:
    return run_with_progress(engine, job)[0]


def run_with_progress(engine: Engine, job: GenerationJob) -> tuple[EngineOutput, list[Progress]]:
    steps, seen = engine.generate(job), []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as finished:
            return finished.value, seen


def codes(
    engine: Engine,
    prompts: Sequence[str],
    frames: int,
    sampling: SamplingParams,
    *,
    seeds: Sequence[int] | None = None,
    audio_prompt: Pcm | None = None,
    melody: Pcm | None = None,
) -> torch.Tensor:
    """Codes (prompts, codebooks, frames)."""
    seeds = seeds or [0] * len(prompts)
    rows = tuple(Row(p, s, sampling) for p, s in zip(prompts, seeds, strict=True))
    job = GenerationJob(rows, frames, audio_prompt=audio_prompt, melody=melody)
    return torch.from_numpy(run(engine, job).codes)
