"""Greedy tokens of packed files in the native engine are those of transformers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.loading import load_engine
from musicgen.engine.native.backend import NativeBackend
from musicgen.model.chroma import compute_chroma
from musicgen.model.native.library import load_library
from musicgen.settings import Settings
from tests.engine.test_tokens_equal_transformers import (
    FRAMES,
    LONG_PROMPT,
    MELODIES,
    _clip,
    _tune,
)
from tests.support import engines, oracle
from tests.support.checkpoints import ALL_SPECS, FAMILIES
from tests.support.oracle import Oracle
from tests.support.packs import pack_folder

pytestmark = pytest.mark.skipif(load_library() is None, reason="no native library here")
GUIDANCE = pytest.mark.parametrize("guidance", [1.0, 3.0])
Load = Callable[[str], MusicGenEngine]
Oracles = Callable[[str], Oracle]


@pytest.fixture(scope="module")
def load(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Load:
    root = tmp_path_factory.mktemp("packed")

    @functools.cache
    def load_packed(name: str) -> MusicGenEngine:
        file = pack_folder(checkpoints(name), "native-float32", root / f"{name}.packed").path
        engine = load_engine(file, name, Settings(device="cpu", precision="float32"))
        assert isinstance(engine, MusicGenEngine) and isinstance(engine.backend, NativeBackend)
        return engine

    return load_packed


@GUIDANCE
@pytest.mark.parametrize("name", ALL_SPECS)
def test_prompts(load: Load, oracles: Oracles, name: str, guidance: float) -> None:
    for prompt in [engines.PROMPTS[0], LONG_PROMPT]:
        expected = oracle.greedy_tokens(*oracles(name), [prompt], FRAMES, guidance)
        found = engines.codes(load(name), [prompt], FRAMES, engines.greedy(guidance))
        assert torch.equal(found, expected), prompt


@GUIDANCE
@pytest.mark.parametrize("name", MELODIES)
def test_a_melody(load: Load, oracles: Oracles, name: str, guidance: float) -> None:
    engine, prompts = load(name), engines.PROMPTS[:1]
    chroma = torch.from_numpy(compute_chroma(_tune(0.7), engine.config))[None]
    expected = oracle.greedy_tokens(*oracles(name), prompts, FRAMES, guidance, chroma=chroma)
    rules = engines.greedy(guidance)
    found = engines.codes(engine, prompts, FRAMES, rules, melody=_tune(0.7))
    assert torch.equal(found, expected)
    assert not torch.equal(found, engines.codes(engine, prompts, FRAMES, rules))


@GUIDANCE
@pytest.mark.parametrize("name", FAMILIES)
def test_a_continued_clip(load: Load, oracles: Oracles, name: str, guidance: float) -> None:
    engine, prompts = load(name), engines.PROMPTS[:1]
    clip = _clip(engine.config.channels)
    theirs, tokenizer = oracles(name)
    known = oracle.encodec_encode(theirs, torch.from_numpy(clip.T)[None])
    expected = oracle.greedy_tokens(theirs, tokenizer, prompts, FRAMES, guidance, audio_codes=known)
    found = engines.codes(engine, prompts, FRAMES, engines.greedy(guidance), audio_prompt=clip)
    assert torch.equal(found, expected)
    assert torch.equal(found[:, :, : known.shape[-1]], known)
