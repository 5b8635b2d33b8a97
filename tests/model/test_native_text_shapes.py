"""Prompts and tokens in the native library: odd text encoders, and all rules of sampling."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from musicgen.engine.pytorch.sampling import SamplerFeatures, SamplingTensors, sample_tokens
from musicgen.model.config import TextEncoderConfig
from musicgen.model.native.forms import FLOAT16, FLOAT32, pack_weight
from musicgen.model.native.generation_bindings import NativeSampling, bind_generation
from musicgen.model.native.library import load_library
from musicgen.model.native.step_file import AMX, AVX2
from musicgen.model.native.text_encoder import NativeTextEncoder
from musicgen.model.text_encoder import TextEncoder
from musicgen.request import SamplingParams
from tests.support.native_library import open_library, restore_level

compiled = load_library()
pytestmark = pytest.mark.skipif(compiled is None, reason="the native step was not compiled here")
TOP = compiled.functions.native_level() if compiled is not None else AMX

CONFIGS = st.builds(
    TextEncoderConfig,
    vocab_size=st.integers(1, 50),
    hidden_size=st.integers(2, 70),
    head_dim=st.sampled_from([1, 3, 8, 17, 64]),
    heads=st.integers(1, 5),
    ffn_size=st.integers(1, 90),
    layers=st.integers(1, 3),
    bias_buckets=st.sampled_from([4, 6, 8, 32]),
    bias_max_distance=st.integers(9, 128),
    norm_eps=st.just(1e-6),
    activation=st.sampled_from(["relu", "gelu", "gelu_new", "silu"]),
    gated=st.booleans(),
)
SAMPLINGS = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 1e-3, 0.7, 1.0, 5.0]),
    top_k=st.integers(0, 300),
    top_p=st.sampled_from([0.0, 0.0, 1e-9, 0.3, 0.9, 1.0]),
)
DRAWS = st.floats(0, 1, exclude_max=True)


@pytest.fixture(autouse=True)
def full_level() -> Iterator[None]:
    yield
    restore_level()


def _pack(name: str, array: NDArray[Any], form: int) -> dict[str, NDArray[Any]]:
    is_product = array.ndim == 2 and "embedding" not in name and "bias" not in name
    return {name: pack_weight(array, form).weight if is_product else array}


@settings(max_examples=40)
@given(
    CONFIGS, st.integers(1, 70), st.sampled_from([FLOAT32, FLOAT16]),
    st.integers(AVX2, TOP), st.integers(1, 4), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_text_encoder_of_any_shape(
    config: TextEncoderConfig, length: int, form: int, level: int, threads: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    encoder = TextEncoder(config).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            size = parameter.shape[1] ** -0.5 if parameter.ndim == 2 else 1.0
            parameter.copy_(torch.randn(parameter.shape, generator=random) * size)
            # Numbers that both forms hold.
            parameter.copy_(parameter.half())
    arrays: dict[str, NDArray[Any]] = {}
    for name, tensor in encoder.state_dict().items():
        arrays |= _pack(f"text_encoder.{name}", tensor.float().numpy(), form)
    library = open_library(threads)
    library.functions.native_limit(level)
    tokens = torch.randint(config.vocab_size, (length,), generator=random)
    found = NativeTextEncoder(library, config, arrays).encode(tokens.tolist())
    found_alone = NativeTextEncoder(open_library(1), config, arrays).encode(tokens.tolist())
    np.testing.assert_array_equal(found, found_alone)
    with torch.inference_mode():
        # Not `forward`, because that embeds in float32.
        x = encoder.embedding(tokens)[None]
        for block in encoder.blocks:
            x = block(x, encoder.position_bias(length))
        expected = encoder.norm(x)[0].numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * (1 + np.abs(expected).max())


@settings(max_examples=300)
@given(
    st.integers(1, 200), SAMPLINGS, DRAWS, st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.1, 1.0, 20.0]), st.booleans(),
)  # fmt: skip
def test_any_token_is_sampled_as_by_pytorch(
    vocabulary: int, params: SamplingParams, draw: float, seed: int, spread: float, has_ties: bool
) -> None:
    logits = np.random.default_rng(seed).normal(0, spread, vocabulary).astype(np.float32)
    if has_ties:
        logits = logits.round()
    rules = NativeSampling(params.top_p, params.temperature, params.top_k)
    library = open_library(1)
    bind_generation(library)
    found = ctypes.c_int64()
    library.functions.native_sample(
        logits.ctypes.data, vocabulary, ctypes.byref(rules), draw, found
    )
    expected = sample_tokens(
        torch.from_numpy(logits)[None, None],
        SamplingTensors.from_params([params], torch.device("cpu")),
        SamplerFeatures.from_params([params]),
        torch.tensor([[draw]], dtype=torch.float64),
    )
    assert found.value == expected.item()
