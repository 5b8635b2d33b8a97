"""Sampling in the native library: the tokens of `musicgen.engine.pytorch.sampling`."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from musicgen.engine.pytorch.sampling import (
    SamplerFeatures,
    SamplingTensors,
    sample_tokens,
)
from musicgen.model.native.generation_bindings import NativeSampling, bind_generation
from musicgen.model.native.library import load_library
from musicgen.request import SamplingParams
from tests.support import native_models
from tests.support.torch_draws import UniformDraws

pytestmark = pytest.mark.skipif(load_library() is None, reason="no native library here")
DRAWS = 12
sampling_params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.1, 0.7, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 2, 16, 250, 4000]),
    top_p=st.sampled_from([0.0, 0.0, 0.05, 0.5, 0.9, 1.0]),
)


def _sample(logits: NDArray[np.float32], rules: SamplingParams, draw: float) -> int:
    library = native_models.library()
    bind_generation(library)
    fields = NativeSampling(rules.top_p, rules.temperature, rules.top_k)
    values = np.ascontiguousarray(logits, np.float32)
    token = ctypes.c_int64()
    library.functions.native_sample(
        values.ctypes.data, len(values), ctypes.byref(fields), draw, token
    )
    return token.value


@settings(max_examples=400)
@given(
    vocabulary=st.sampled_from([1, 2, 3, 16, 17, 64, 1000, 2048]),
    rules=sampling_params,
    spread=st.sampled_from([0.01, 1.0, 8.0]),
    has_ties=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_tokens_are_those_of_pytorch(
    vocabulary: int, rules: SamplingParams, spread: float, has_ties: bool, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, DRAWS, vocabulary, generator=random) * spread
    if has_ties:
        logits = logits.round()
    uniform = UniformDraws([seed]).next(1, DRAWS)[:, 0]
    tensors = SamplingTensors.from_params([rules], torch.device("cpu"))
    wanted = sample_tokens(logits, tensors, SamplerFeatures.from_params([rules]), uniform)
    found = [_sample(logits[0, k].numpy(), rules, float(uniform[0, k])) for k in range(DRAWS)]
    assert found == wanted[0].tolist()


def test_ties_at_the_last_place_of_top_k_all_stay() -> None:
    logits = np.array([0, 2, 1, 1, 1, -1], np.float32)
    rules = SamplingParams(top_k=2)
    found = {_sample(logits, rules, draw) for draw in np.linspace(0, 0.999, 50)}
    assert found == {1, 2, 3, 4}


@pytest.mark.parametrize("draw", [0.0, 0.5, float(np.nextafter(1, 0))])
@pytest.mark.parametrize("rules", [SamplingParams(top_k=2), SamplingParams(top_p=0.3)])
def test_a_removed_token_is_never_returned(rules: SamplingParams, draw: float) -> None:
    logits = np.array([-5, 1, -5, 1, -5], np.float32)
    assert _sample(logits, rules, draw) in (1, 3)


def test_top_p_takes_precedence_over_top_k() -> None:
    logits = np.zeros(8, np.float32)
    rules = SamplingParams(top_k=1, top_p=1.0)
    assert {_sample(logits, rules, draw) for draw in np.linspace(0, 0.999, 64)} == set(range(8))


def test_a_tiny_temperature_gives_a_token_of_the_vocabulary() -> None:
    logits = np.array([1, -3, 2], np.float32)
    for rules in (SamplingParams(temperature=1e-38), SamplingParams(temperature=1e-38, top_p=0.5)):
        assert 0 <= _sample(logits, rules, 0.7) < 3
