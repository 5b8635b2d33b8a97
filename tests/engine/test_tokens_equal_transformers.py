"""Greedy tokens are identical to transformers' `generate` on the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen.model.chroma import compute_chroma
from musicgen.model.config import MusicGenConfig
from tests.support import engines, oracle
from tests.support.checkpoints import ALL_SPECS, FAMILIES
from tests.support.oracle import Oracle

FRAMES = 24
MELODIES = [name for name, spec in ALL_SPECS.items() if spec.melody]
TEXTS = [name for name in ALL_SPECS if name not in MELODIES]
LONG_PROMPT = "fast high bells and a deep bass drone, " * 12


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@engines.BOTH_FORMS
@pytest.mark.parametrize("name", ALL_SPECS)
def test_single_prompts(
    checkpoints: Callable[[str], Path],
    oracles: Callable[[str], Oracle],
    name: str,
    guidance: float,
    compiled: bool,
) -> None:
    folder = checkpoints(name)
    ours, theirs = engines.engine(folder, compiled=compiled), oracles(name).model
    tokenizer = oracles(name).tokenizer
    for prompt in [*engines.PROMPTS, LONG_PROMPT]:
        expected = oracle.greedy_tokens(theirs, tokenizer, [prompt], FRAMES, guidance)
        actual = engines.codes(ours, [prompt], FRAMES, engines.greedy(guidance))
        assert torch.equal(actual, expected), prompt


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@engines.BOTH_FORMS
@pytest.mark.parametrize("name", TEXTS)
def test_a_batch_of_prompts_of_different_lengths(
    checkpoints: Callable[[str], Path],
    oracles: Callable[[str], Oracle],
    name: str,
    guidance: float,
    compiled: bool,
) -> None:
    folder = checkpoints(name)
    tokenizer = oracles(name).tokenizer
    prompts = [*engines.PROMPTS, LONG_PROMPT, "a"]
    expected = oracle.greedy_tokens(oracles(name).model, tokenizer, prompts, FRAMES, guidance)
    actual = engines.codes(
        engines.engine(folder, compiled=compiled), prompts, FRAMES, engines.greedy(guidance)
    )
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@engines.BOTH_FORMS
@pytest.mark.parametrize("name", MELODIES)
def test_a_melody_batch_equals_each_prompt_alone(
    checkpoints: Callable[[str], Path],
    oracles: Callable[[str], Oracle],
    name: str,
    guidance: float,
    compiled: bool,
) -> None:
    """In transformers a melody model attends to the padding of a batch, and positions shift.

    There a clip depends on its neighbours. Here it must not.
    """
    folder = checkpoints(name)
    theirs, tokenizer = oracles(name).model, oracles(name).tokenizer
    prompts = [*engines.PROMPTS, LONG_PROMPT, "a"]
    actual = engines.codes(
        engines.engine(folder, compiled=compiled), prompts, FRAMES, engines.greedy(guidance)
    )
    for row, prompt in zip(actual, prompts, strict=True):
        alone = oracle.greedy_tokens(theirs, tokenizer, [prompt], FRAMES, guidance)
        assert torch.equal(row, alone[0]), prompt


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@engines.BOTH_FORMS
@pytest.mark.parametrize("name", MELODIES)
@pytest.mark.parametrize("seconds", [0.3, 3.0])
def test_a_given_melody(
    checkpoints: Callable[[str], Path],
    oracles: Callable[[str], Oracle],
    name: str,
    guidance: float,
    seconds: float,
    compiled: bool,
) -> None:
    folder = checkpoints(name)
    theirs, tokenizer = oracles(name).model, oracles(name).tokenizer
    melody = _tune(seconds)
    chroma = compute_chroma(torch.from_numpy(melody), MusicGenConfig.from_folder(folder))
    prompts = engines.PROMPTS[:1]
    expected = oracle.greedy_tokens(
        theirs, tokenizer, prompts, FRAMES, guidance, chroma=chroma[None]
    )
    ours = engines.engine(folder, compiled=compiled)
    actual = engines.codes(ours, prompts, FRAMES, engines.greedy(guidance), melody=melody)
    assert torch.equal(actual, expected)
    without = engines.codes(ours, prompts, FRAMES, engines.greedy(guidance))
    assert not torch.equal(actual, without), "the melody was ignored"


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@engines.BOTH_FORMS
@pytest.mark.parametrize("name", FAMILIES)
def test_a_continued_clip(
    checkpoints: Callable[[str], Path],
    oracles: Callable[[str], Oracle],
    name: str,
    guidance: float,
    compiled: bool,
) -> None:
    """A prompt of audio opens the result, codebooks in their delayed order, stereo interleaved."""
    folder = checkpoints(name)
    theirs, tokenizer = oracles(name).model, oracles(name).tokenizer
    ours = engines.engine(folder, compiled=compiled)
    clip = np.random.default_rng(3).normal(0, 0.2, (7 * 640 - 100, ours.config.channels))
    clip = clip.astype(np.float32)
    known = oracle.encodec_encode(theirs, torch.from_numpy(clip.T)[None])
    expected = oracle.greedy_tokens(
        theirs, tokenizer, engines.PROMPTS[:1], FRAMES, guidance, audio_codes=known
    )
    actual = engines.codes(
        ours, engines.PROMPTS[:1], FRAMES, engines.greedy(guidance), audio_prompt=clip
    )
    assert torch.equal(actual, expected)
    assert torch.equal(actual[:, :, :7], known)


def _tune(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * 32000)) / 32000
    notes = 220 * 2 ** (np.floor(time * 4) * 7 % 12 / 12)
    tone = 0.3 * np.sin(2 * np.pi * np.cumsum(notes) / 32000)
    return np.stack([tone, tone], axis=1).astype(np.float32)
