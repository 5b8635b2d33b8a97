"""Checks the own engine against transformers on the user's own weights: the tokens must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from musicgen.checkpoints.locate import locate
from musicgen.engine.interface import Engine, GenerationJob, Row, run_to_end
from musicgen.engine.loading import load_engine
from musicgen.process.resources import cpu_quota
from musicgen.request import SamplingParams
from musicgen.settings import Settings

GUIDANCE_SCALES = (1.0, 3.0)


@dataclass(frozen=True)
class Difference:
    """The first token, in decoding order, in which the engines disagree."""

    guidance: float
    frame: int
    codebook: int
    ours: int
    theirs: int


def verify(settings: Settings, prompt: str, seconds: float) -> Difference | None:
    """Decodes greedily with both engines in turn, without and with guidance.

    In float32 unless the settings name a precision: only there is "identical" a fair demand.
    Raises: what loading raises, `MissingDependency` without transformers.
    """
    source = locate(settings.model, base=settings.base_model)
    precision = "float32" if settings.precision == "auto" else settings.precision
    torch.set_num_threads(settings.threads or cpu_quota())
    tokens = []
    for name in ("musicgen", "transformers"):
        chosen = replace(settings, engine=name, precision=precision)
        engine = load_engine(source.folder, source.name, chosen, source.adapter)
        tokens.append([greedy_codes(engine, [prompt], seconds, g) for g in GUIDANCE_SCALES])
        engine.close()
    for guidance, ours, theirs in zip(GUIDANCE_SCALES, *tokens, strict=True):
        found = first_difference(ours[0], theirs[0])
        if found is not None:
            codebook, frame = found
            return Difference(guidance, frame, codebook, int(ours[0][found]), int(theirs[0][found]))
    return None


def greedy_codes(
    engine: Engine, prompts: Sequence[str], seconds: float, guidance: float
) -> NDArray[np.int64]:
    """Codes (prompts, codebooks, frames) without any randomness."""
    sampling = SamplingParams(temperature=0.0, top_k=1, guidance=guidance)
    frames = max(1, round(seconds * engine.config.frame_rate))
    job = GenerationJob(tuple(Row(prompt, 0, sampling) for prompt in prompts), frames)
    return run_to_end(engine.generate(job)).codes


def first_difference(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> tuple[int, int] | None:
    """(codebook, frame) of the earliest frame in which two clips (codebooks, frames) differ."""
    where = np.argwhere(ours.T != theirs.T)
    return (int(where[0][1]), int(where[0][0])) if len(where) else None
