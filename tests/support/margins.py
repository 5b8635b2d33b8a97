"""Distances of sampled tokens from a tie, to tell rounding from a mistake.

Two engines round their logits differently. A token then differs only if its choice was nearly a
tie. After the first different token a clip may go anywhere.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, count_known_frames
from musicgen.engine.pytorch.decode_state import DecodeState
from musicgen.model.delay_pattern import DelayPattern
from musicgen.request import SamplingParams
from tests.support import engines

Codes = NDArray[np.int64]


def sample(logits: NDArray[Any], params: SamplingParams, draw: float) -> tuple[int, float]:
    """Sample one token in float64; return it and the distance of its choice from a tie."""
    logits = logits.astype(np.float64)
    ordered = np.sort(logits)[::-1]
    if params.temperature == 0:
        return int(logits.argmax()), float(ordered[0] - ordered[1])
    logits, ordered = logits / params.temperature, ordered / params.temperature
    margin = np.inf
    if params.top_p == 0 and 0 < params.top_k < len(logits):
        margin = ordered[params.top_k - 1] - ordered[params.top_k]
        logits = np.where(logits < ordered[params.top_k - 1], -np.inf, logits)
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    if params.top_p > 0:
        largest = np.sort(chances)[::-1]
        before = np.cumsum(largest) - largest
        margin = np.abs(before[1:] - params.top_p).min()
        chances[chances < largest[(before <= params.top_p).sum() - 1]] = 0
    edges = np.cumsum(chances) / chances.sum()
    token = int((edges <= draw).sum())
    return token, float(min(margin, np.abs(edges[:-1] - draw).min()))


def run_with_margins(engine: MusicGenEngine, job: GenerationJob) -> tuple[Codes, NDArray[Any]]:
    """Run a job of one window alone; return its codes and margins (steps, clips, codebooks).

    Every sampled token must be the one of `sample`, but for a tie.
    """
    module = sys.modules[DecodeState.__module__]
    original, margins = module.sample_tokens, []  # type: ignore[attr-defined]

    def record(logits: Any, rows: Any, features: Any, uniform: Any) -> Any:
        tokens = original(logits, rows, features, uniform)
        step = np.empty(tokens.shape)
        for clip, book in np.ndindex(*step.shape):
            params, draw = job.rows[clip].sampling, float(uniform[clip, book])
            token, step[clip, book] = sample(logits[clip, book].numpy(), params, draw)
            assert token == tokens[clip, book] or step[clip, book] < 1e-6
        margins.append(step)
        return tokens

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "sample_tokens", record)
        codes = engines.run(engine, job).codes
    return codes, np.stack(margins)


def check_codes(engine: MusicGenEngine, job: GenerationJob, found: Codes, near_tie: float) -> bool:
    """Check the codes of a job against `engine`; return whether a tie made them differ."""
    expected, margins = run_with_margins(engine, job)
    decoder = engine.config.decoder
    delays = DelayPattern(decoder.codebooks, decoder.channels, 0).delays
    known = count_known_frames(job, engine.config)
    assert found.shape == expected.shape
    assert (found[:, :, :known] == expected[:, :, :known]).all()
    differs = False
    for clip in range(len(job.rows)):
        books, frames = np.nonzero(found[clip] != expected[clip])
        if not len(books):
            continue
        steps = frames - known + np.asarray(delays)[books]
        first = steps.min()
        parted = [margins[first, clip, book] for book in books[steps == first]]
        assert max(parted) < near_tie, f"clip {clip} parts at step {first}: {parted}"
        differs = True
    return differs
