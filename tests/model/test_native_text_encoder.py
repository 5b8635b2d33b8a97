"""The T5 encoder in the native library: close to PyTorch's in every variant and form."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from musicgen.errors import CheckpointMismatch, UnsupportedCheckpoint
from musicgen.model.config import TextEncoderConfig
from musicgen.model.layers import Linear
from musicgen.model.native.forms import FLOAT16, FLOAT32, pack_weight
from musicgen.model.native.library import load_library
from musicgen.model.native.step_file import AVX2
from musicgen.model.native.text_encoder import NativeTextEncoder, find_buckets
from musicgen.model.text_encoder import PositionBias, TextEncoder
from tests.support import native_models

pytestmark = pytest.mark.skipif(load_library() is None, reason="no native library here")
CONFIG = TextEncoderConfig(
    vocab_size=50,
    hidden_size=24,
    head_dim=7,
    heads=3,
    ffn_size=40,
    layers=2,
    bias_buckets=8,
    bias_max_distance=20,
    norm_eps=1e-6,
    activation="relu",
    gated=False,
)
TOKENS = [3, 49, 0, 7, 7, 21, 1]


def _build(config: TextEncoderConfig) -> TextEncoder:
    model = TextEncoder(config)
    random = torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        scale = 1.0 if "norm" in name or "embedding" in name else 0.3
        parameter.data = torch.randn(parameter.shape, generator=random) * scale
    return model


def _collect(model: TextEncoder, form: int | None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a packed file; None leaves products as they are."""
    linears = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, Linear)}
    arrays: dict[str, NDArray[Any]] = {}
    for name, parameter in model.state_dict().items():
        array = parameter.numpy()
        if name in linears and form is not None:
            array = pack_weight(array, form).weight
        arrays[f"text_encoder.{name}"] = array
    if form == FLOAT16:
        name = "text_encoder.embedding.weight"
        arrays[name] = arrays[name].astype(np.float16)
    return arrays


@pytest.mark.parametrize("form", [None, FLOAT32, FLOAT16])
@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize(
    ("activation", "gated"),
    [("relu", False), ("gelu", True), ("gelu_new", True), ("silu", True), ("gelu_new", False)],
)
def test_states_are_those_of_pytorch(
    form: int | None, length: int, activation: str, gated: bool
) -> None:
    config = dataclasses.replace(CONFIG, activation=activation, gated=gated)
    model, library = _build(config), native_models.library()
    with torch.inference_mode():
        wanted = model(torch.tensor([TOKENS[:length]]))[0].numpy()
    encoder = NativeTextEncoder(library, config, _collect(model, form))
    try:
        for level in range(AVX2, library.functions.native_level() + 1):
            library.functions.native_limit(level)
            found = encoder.encode(TOKENS[:length])
            error = np.abs(found - wanted).max() / np.abs(wanted).max()
            assert error < (0.01 if form == FLOAT16 else 2e-5)
    finally:
        library.functions.native_limit(library.functions.native_level())


@pytest.mark.parametrize(
    ("heads", "head_dim", "hidden", "ffn"), [(1, 1, 3, 5), (5, 3, 17, 33), (2, 64, 128, 16)]
)
def test_odd_shapes_are_encoded(heads: int, head_dim: int, hidden: int, ffn: int) -> None:
    config = dataclasses.replace(
        CONFIG, heads=heads, head_dim=head_dim, hidden_size=hidden, ffn_size=ffn
    )
    model = _build(config)
    tokens = [i % 50 for i in range(61)]
    with torch.inference_mode():
        wanted = model(torch.tensor([tokens]))[0].numpy()
    found = NativeTextEncoder(native_models.library(), config, _collect(model, FLOAT32)).encode(
        tokens
    )
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


@given(st.sampled_from([4, 8, 32, 33, 64, 128]), st.sampled_from([20, 64, 100, 128, 1000]))
def test_buckets_are_those_of_pytorch(buckets: int, max_distance: int) -> None:
    config = dataclasses.replace(CONFIG, bias_buckets=buckets, bias_max_distance=max_distance)
    if max_distance <= buckets // 4:
        return
    distance = torch.arange(-2500, 2501)
    wanted = PositionBias(config)._find_buckets(distance).numpy()
    assert np.array_equal(find_buckets(distance.numpy(), buckets, max_distance), wanted)


def test_what_is_not_a_number_stays_visible() -> None:
    arrays = _collect(_build(CONFIG), FLOAT32)
    arrays["text_encoder.embedding.weight"][7, 2] = np.nan
    found = NativeTextEncoder(native_models.library(), CONFIG, arrays).encode(TOKENS)
    assert not np.isfinite(found).any()


@pytest.mark.parametrize("tokens", [[], [50], [-1, 3]])
def test_a_token_outside_of_the_vocabulary_is_refused(tokens: list[int]) -> None:
    arrays = _collect(_build(CONFIG), FLOAT32)
    with pytest.raises(ValueError, match="tokens must be 0 to 49"):
        NativeTextEncoder(native_models.library(), CONFIG, arrays).encode(tokens)


def test_weights_of_another_shape_are_refused() -> None:
    arrays = _collect(_build(CONFIG), FLOAT32)
    wider = dataclasses.replace(CONFIG, ffn_size=56)
    with pytest.raises(CheckpointMismatch, match=r"ffn\.up\.weight must be float32 \(4, 24, 16\)"):
        NativeTextEncoder(native_models.library(), wider, arrays)
    del arrays["text_encoder.blocks.1.ffn.down.weight"]
    with pytest.raises(CheckpointMismatch, match=r"blocks\.1\.ffn\.down\.weight is missing"):
        NativeTextEncoder(native_models.library(), CONFIG, arrays)


def test_an_unknown_activation_is_refused() -> None:
    config = dataclasses.replace(CONFIG, activation="mish")
    with pytest.raises(UnsupportedCheckpoint, match="must be one of relu"):
        NativeTextEncoder(native_models.library(), config, {})
