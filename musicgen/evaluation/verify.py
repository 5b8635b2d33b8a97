"""Comparison of this project's engine with transformers: the tokens must be equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from musicgen.checkpoints.locate import Source
from musicgen.checkpoints.obtain import obtain
from musicgen.engine.interface import Engine, GenerationJob, Row, run_to_end
from musicgen.engine.loading import load_engine
from musicgen.errors import UnsupportedCheckpoint
from musicgen.evaluation.peft_merge import load_merged_by_peft
from musicgen.process.resources import cpu_quota
from musicgen.process.threads import use_threads
from musicgen.request import SamplingParams
from musicgen.settings import Settings

GUIDANCE_SCALES = (1.0, 3.0)


@dataclass(frozen=True)
class Difference:
    """First different token of the two engines, in decoding order."""

    guidance: float
    frame: int
    codebook: int
    ours: int
    theirs: int


@dataclass(frozen=True)
class NotCompared:
    """Result for a checkpoint that only transformers can load. `reason`: a sentence."""

    reason: str


def verify(settings: Settings, prompt: str, seconds: float) -> Difference | NotCompared | None:
    """Decode greedily with both engines, without and with guidance, and compare the tokens.

    Returns None for equal tokens. The precision is float32 unless the settings name another; only
    in float32 are equal tokens guaranteed. An adapter is merged by PEFT for transformers, and each
    merged weight is compared too. Raises: the errors of loading, `MergeDiffers`,
    `MissingDependency` without transformers, or without peft for an adapter.
    """
    source = obtain(settings)
    precision = "float32" if settings.precision == "auto" else settings.precision
    use_threads(settings.threads or cpu_quota())
    tokens = []
    reason: str | None = None
    for name in ("musicgen", "transformers"):
        try:
            engine = _load(source, replace(settings, engine=name, precision=precision))
        except UnsupportedCheckpoint as error:
            if name == "transformers":
                raise
            reason = str(error)
            continue
        if reason is None:
            tokens.append([greedy_codes(engine, [prompt], seconds, g) for g in GUIDANCE_SCALES])
        engine.close()
    if reason is not None:
        return NotCompared(reason)
    for guidance, ours, theirs in zip(GUIDANCE_SCALES, *tokens, strict=True):
        place = find_difference(ours[0], theirs[0])
        if place is not None:
            codebook, frame = place
            return Difference(guidance, frame, codebook, int(ours[0][place]), int(theirs[0][place]))
    return None


def _load(source: Source, settings: Settings) -> Engine:
    """Load exactly the engine of the settings; PEFT itself merges an adapter for transformers."""
    if settings.engine == "transformers" and source.adapter is not None:
        return load_merged_by_peft(source, settings)
    return load_engine(source.folder, source.name, settings, source.adapter, fall_back=False)


def greedy_codes(
    engine: Engine, prompts: Sequence[str], seconds: float, guidance: float
) -> NDArray[np.int64]:
    """Return the greedy codes (prompts, codebooks, frames)."""
    sampling = SamplingParams(temperature=0.0, top_k=1, guidance=guidance)
    frames = max(1, round(seconds * engine.config.frame_rate))
    job = GenerationJob(tuple(Row(prompt, 0, sampling) for prompt in prompts), frames)
    return run_to_end(engine.generate(job)).codes


def find_difference(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> tuple[int, int] | None:
    """Return (codebook, frame) of the first difference of two clips (codebooks, frames)."""
    where = np.argwhere(ours.T != theirs.T)
    return (int(where[0][1]), int(where[0][0])) if len(where) else None
