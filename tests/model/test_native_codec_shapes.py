"""Odd shapes of EnCodec in the native library, against PyTorch's layers in float64."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from musicgen.model.config import CodecConfig
from musicgen.model.encodec import Codec, decode_channels
from musicgen.model.native.codec import NativeCodec
from musicgen.model.native.codec_forms import FLOAT32, INT16, pack_codec
from musicgen.model.native.library import load_library
from musicgen.model.native.step_file import AMX
from tests.support.native_library import open_library, restore_level

compiled = load_library()
pytestmark = pytest.mark.skipif(compiled is None, reason="the native step was not compiled here")
TOP = compiled.functions.native_level() if compiled is not None else AMX
ERRORS = {FLOAT32: 1e-5, INT16: 1e-3}
"""Largest error by form, for samples and weights of about 1."""

CONFIGS = st.builds(
    CodecConfig,
    sample_rate=st.just(32000),
    channels=st.just(1),
    codebooks=st.integers(1, 8),
    codebook_size=st.integers(1, 20),
    codebook_dim=st.just(0),
    hidden_size=st.integers(1, 40),
    filters=st.integers(3, 9),
    residual_layers=st.integers(0, 2),
    ratios=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    kernel_size=st.integers(1, 9),
    last_kernel_size=st.integers(1, 9),
    residual_kernel_size=st.integers(1, 4),
    dilation_growth=st.integers(1, 3),
    compress=st.integers(1, 3),
    lstm_layers=st.integers(1, 3),
    causal=st.booleans(),
    conv_shortcut=st.booleans(),
    pad_mode=st.sampled_from(["reflect", "constant", "replicate"]),
    trim_right_ratio=st.sampled_from([0.0, 0.5, 1.0]),
).map(lambda config: _replace_dim(config))
FORMS, LEVELS, THREADS = st.sampled_from([FLOAT32, INT16]), st.integers(0, TOP), st.integers(1, 4)
SEEDS, SIDES = st.integers(0, 2**32 - 1), st.integers(1, 2)


def _replace_dim(config: CodecConfig) -> CodecConfig:
    fields = {**vars(config), "codebook_dim": config.hidden_size}
    return CodecConfig(**fields)


@pytest.fixture(autouse=True)
def full_level() -> Iterator[None]:
    yield
    restore_level()


def _build(
    config: CodecConfig, seed: int, form: int, sides: int, threads: int
) -> tuple[Codec, NativeCodec]:
    """Return a random codec in float64, and the same in the library."""
    random = torch.Generator().manual_seed(seed)
    codec = Codec(config).double()
    with torch.no_grad():
        for parameter in codec.parameters():
            size = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=random) * size)
            parameter.copy_(parameter.float())
    arrays = {f"codec.{name}": x.float().numpy() for name, x in codec.state_dict().items()}
    packed = pack_codec(config, arrays, form)
    return codec, NativeCodec(open_library(threads), config, packed, sides)


def _decode(codec: NativeCodec, codes: NDArray[Any], cuts: list[int]) -> NDArray[Any]:
    """Decode pieces, divided at `cuts`; with equal cuts some are empty."""
    stream = codec.open_stream()
    edges = [0, *sorted(min(cut, codes.shape[1]) for cut in cuts), codes.shape[1]]
    pieces = [codes[:, start:end] for start, end in itertools.pairwise(edges)]
    return np.concatenate(
        [stream.push(piece, index == len(pieces) - 1) for index, piece in enumerate(pieces)]
    )


@settings(max_examples=25)
@given(
    CONFIGS, st.integers(0, 40), st.lists(st.integers(0, 40), max_size=4),
    FORMS, LEVELS, THREADS, SIDES, SEEDS,
)  # fmt: skip
def test_codes_of_any_shape_become_sound(
    config: CodecConfig,
    frames: int,
    cuts: list[int],
    form: int,
    level: int,
    threads: int,
    sides: int,
    seed: int,
) -> None:
    codec, native = _build(config, seed, form, sides, threads)
    native._decoder.library.functions.native_limit(level)
    random = np.random.default_rng(seed)
    codes = random.integers(config.codebook_size, size=(config.codebooks * sides, frames))
    found = _decode(native, codes, [])
    assert found.shape == (frames * config.hop_length, sides)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(_decode(native, codes, cuts), found)
    np.testing.assert_array_equal(np.concatenate(list(native.decode(codes))), found)
    if frames == 0:
        return
    with torch.inference_mode():
        expected = decode_channels(codec, torch.from_numpy(codes)[None], sides)[0].T.numpy()
    assert np.abs(found - expected).max() <= ERRORS[form] * (1 + np.abs(expected).max())


@settings(max_examples=40)
@given(CONFIGS, st.integers(0, 300), LEVELS, THREADS, SIDES, SEEDS)
def test_sound_of_any_length_becomes_codes(
    config: CodecConfig, samples: int, level: int, threads: int, sides: int, seed: int
) -> None:
    """Each code is the nearest in float64, but for ties."""
    codec, native = _build(config, seed, INT16, sides, threads)
    native._decoder.library.functions.native_limit(level)
    pcm = np.random.default_rng(seed).normal(0, 0.3, (samples, sides)).astype(np.float32)
    codes = native.encode(pcm)
    assert codes.shape == (config.codebooks * sides, -(-samples // config.hop_length))
    assert codes.dtype == np.int64
    for side in range(sides if samples else 0):
        with torch.inference_mode():
            waveform = torch.from_numpy(pcm[:, side].astype(np.float64))[None, None]
            residual = codec.encoder(waveform)[0].T.numpy()
        for book, indices in zip(codec.codebooks.numpy(), codes[side::sides], strict=True):
            distances = ((residual[:, None] - book) ** 2).sum(axis=2)
            chosen = distances[np.arange(len(indices)), indices]
            assert (chosen - distances.min(axis=1)).max() <= 1e-5 * (1 + distances.max())
            residual = residual - book[indices]
