"""Greedy tokens are identical to transformers' `generate` on the same weights."""

from __future__ import annotations

import functools
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
    ours = engines.engine(checkpoints(name), compiled=compiled)
    for prompt in [*engines.PROMPTS, LONG_PROMPT]:
        expected = _expected(oracles, name, (prompt,), guidance)
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
    prompts = [*engines.PROMPTS, LONG_PROMPT, "a"]
    ours = engines.engine(checkpoints(name), compiled=compiled)
    actual = engines.codes(ours, prompts, FRAMES, engines.greedy(guidance))
    expected = _expected(oracles, name, tuple(prompts), guidance)
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
    prompts = [*engines.PROMPTS, LONG_PROMPT, "a"]
    ours = engines.engine(checkpoints(name), compiled=compiled)
    actual = engines.codes(ours, prompts, FRAMES, engines.greedy(guidance))
    for row, prompt in zip(actual, prompts, strict=True):
        alone = _expected(oracles, name, (prompt,), guidance)
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
    melody = _tune(seconds)
    prompts = engines.PROMPTS[:1]
    expected = _expected_with_melody(oracles, name, folder, seconds, guidance)
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
    ours = engines.engine(checkpoints(name), compiled=compiled)
    known, expected = _expected_with_audio(oracles, name, guidance)
    clip = _clip(ours.config.channels)
    actual = engines.codes(
        ours, engines.PROMPTS[:1], FRAMES, engines.greedy(guidance), audio_prompt=clip
    )
    assert torch.equal(actual, expected)
    assert torch.equal(actual[:, :, :7], known)


@functools.cache
def _expected(
    oracles: Callable[[str], Oracle], name: str, prompts: tuple[str, ...], guidance: float
) -> torch.Tensor:
    """Return transformers' tokens of a batch, made once for both forms of our step."""
    theirs, tokenizer = oracles(name)
    return oracle.greedy_tokens(theirs, tokenizer, list(prompts), FRAMES, guidance)


@functools.cache
def _expected_with_melody(
    oracles: Callable[[str], Oracle], name: str, folder: Path, seconds: float, guidance: float
) -> torch.Tensor:
    theirs, tokenizer = oracles(name)
    chroma = torch.from_numpy(compute_chroma(_tune(seconds), MusicGenConfig.from_folder(folder)))
    return oracle.greedy_tokens(
        theirs, tokenizer, engines.PROMPTS[:1], FRAMES, guidance, chroma=chroma[None]
    )


@functools.cache
def _expected_with_audio(
    oracles: Callable[[str], Oracle], name: str, guidance: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the codes of the clip that is continued, and transformers' continuation."""
    theirs, tokenizer = oracles(name)
    clip = _clip(theirs.config.decoder.audio_channels)
    known = oracle.encodec_encode(theirs, torch.from_numpy(clip.T)[None])
    prompts = engines.PROMPTS[:1]
    codes = oracle.greedy_tokens(theirs, tokenizer, prompts, FRAMES, guidance, audio_codes=known)
    return known, codes


def _clip(channels: int) -> np.ndarray:
    clip = np.random.default_rng(3).normal(0, 0.2, (7 * 640 - 100, channels))
    return clip.astype(np.float32)


def _tune(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * 32000)) / 32000
    notes = 220 * 2 ** (np.floor(time * 4) * 7 % 12 / 12)
    tone = 0.3 * np.sin(2 * np.pi * np.cumsum(notes) / 32000)
    return np.stack([tone, tone], axis=1).astype(np.float32)
