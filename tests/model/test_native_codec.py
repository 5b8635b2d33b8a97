"""The native codec: PyTorch's samples and codes, exact streams, the same bits on every CPU."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen.checkpoints.weights import load_model
from musicgen.errors import CheckpointMismatch, UnsupportedCheckpoint
from musicgen.model.codec_stream import decode_in_pieces
from musicgen.model.config import CodecConfig, MusicGenConfig
from musicgen.model.encodec import Codec, encode_channels
from musicgen.model.native.codec import NativeCodec
from musicgen.model.native.codec_bindings import Array
from musicgen.model.native.codec_forms import FLOAT32, INT16, CodecPacking, pack_codec
from musicgen.model.native.library import Library, load_library
from musicgen.model.native.step_file import AMX, find_step_file

compiled = load_library()
pytestmark = pytest.mark.skipif(compiled is None, reason="the native step was not compiled here")
FORMS = [FLOAT32, INT16]
# Largest difference over the standard deviation: rounding in float32, and in int16.
TOLERANCE = {FLOAT32: 1e-4, INT16: 3e-2}
PUBLISHED = CodecConfig(
    *(32000, 1, 4, 64, 16, 16, 16, 1, (8, 5, 4, 4), 7, 7, 3, 2, 2, 2, False, False),
    pad_mode="reflect",
    trim_right_ratio=1.0,
)


@pytest.fixture
def native() -> Iterator[Library]:
    """Yield the library and restore its full level afterwards."""
    assert compiled is not None
    yield compiled
    compiled.functions.native_limit(AMX)


def _build(config: CodecConfig, seed: int = 0) -> tuple[Codec, dict[str, Array]]:
    """Return a codec with random weights, and them as arrays."""
    codec, generator = Codec(config), torch.Generator().manual_seed(seed)
    for parameter in codec.parameters():
        with torch.no_grad():
            parameter.normal_(0, 0.3, generator=generator)
    return codec, _arrays(codec)


def _arrays(codec: Codec) -> dict[str, Array]:
    return {f"codec.{name}": value.detach().numpy() for name, value in codec.state_dict().items()}


def _random_config(seed: int) -> CodecConfig:
    draw = random.Random(seed)
    return dataclasses.replace(
        PUBLISHED,
        channels=draw.choice([1, 1, 2]),
        codebook_dim=10,
        hidden_size=10,
        filters=draw.choice([4, 6, 8, 16]),
        residual_layers=draw.choice([0, 1, 2]),
        ratios=tuple(draw.choices([1, 2, 3, 4, 5], k=draw.choice([1, 2, 3]))),
        kernel_size=draw.choice([1, 2, 3, 7]),
        last_kernel_size=draw.choice([1, 3, 4, 7]),
        residual_kernel_size=draw.choice([1, 2, 3, 5]),
        dilation_growth=draw.choice([1, 2]),
        compress=draw.choice([1, 2, 4]),
        lstm_layers=draw.choice([1, 2]),
        causal=draw.random() < 0.5,
        conv_shortcut=draw.random() < 0.5,
        pad_mode=draw.choice(["reflect", "reflect", "constant", "replicate"]),
        trim_right_ratio=draw.choice([0.0, 0.5, 1.0]),
    )


def _draw_codes(config: CodecConfig, frames: int, seed: int = 0) -> torch.Tensor:
    shape = (config.codebooks, frames)
    return torch.randint(config.codebook_size, shape, generator=torch.manual_seed(seed))


def _decode(codec: NativeCodec, codes: torch.Tensor) -> Array:
    return np.concatenate(list(codec.decode(codes.numpy())))


def _error(output: Array, expected: Array) -> float:
    assert output.shape == expected.shape
    return float(np.abs(output - expected).max() / np.sqrt((expected**2).mean()))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(24))
@torch.inference_mode()
def test_any_architecture_decodes_as_pytorch(native: Library, seed: int, form: int) -> None:
    config, draw = _random_config(seed), random.Random(seed)
    codec, arrays = _build(config, seed)
    codes = _draw_codes(config, draw.choice([1, 2, 3, 17, 60]), seed)
    whole = _decode(NativeCodec(native, config, pack_codec(config, arrays, form), 1), codes)
    assert _error(whole, codec.decode(codes[None])[0].T.numpy()) < TOLERANCE[form]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(12))
def test_a_stream_has_the_bits_of_the_whole(native: Library, seed: int, form: int) -> None:
    config, draw = _random_config(seed), random.Random(seed)
    packed = pack_codec(config, _build(config, seed)[1], form)
    codec, codes = NativeCodec(native, config, packed, 1), _draw_codes(config, 60, seed)
    stream, parts, start = codec.open_stream(), [], 0
    while start < 60:
        length = draw.choice([0, 1, 2, 7])
        parts.append(stream.push(codes[:, start : start + length].numpy(), last=False))
        start += length
    parts.append(stream.push(codes[:, :0].numpy(), last=True))
    assert np.array_equal(np.concatenate(parts), _decode(codec, codes))


@pytest.mark.parametrize("samples", [1, 5, 40, 640, 700, 33_000])
@pytest.mark.parametrize("causal", [False, True])
@torch.inference_mode()
def test_the_encoder_gives_the_same_codes(native: Library, causal: bool, samples: int) -> None:
    config = dataclasses.replace(PUBLISHED, causal=causal)
    codec, arrays = _build(config)
    native_codec = NativeCodec(native, config, pack_codec(config, arrays, INT16), 2)
    sound = torch.randn(1, 2, samples, generator=torch.manual_seed(1))
    codes = native_codec.encode(sound[0].T.numpy())
    expected = encode_channels(codec, sound)[0].numpy()
    assert codes.shape == expected.shape
    assert (codes == expected).mean() > 0.99


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-small", "causal-shortcut"])
@torch.inference_mode()
def test_a_checkpoint_decodes_as_pytorch(
    native: Library, name: str, checkpoints: Callable[[str], Path]
) -> None:
    folder = checkpoints(name)
    config = MusicGenConfig.from_folder(folder)
    codec = load_model(folder, config, torch.device("cpu"), torch.float32).codec
    codes = _draw_codes(config.codec, 70)[: config.decoder.codebooks]
    codes = codes.repeat(config.channels, 1)[: config.decoder.codebooks]
    expected = decode_in_pieces(codec, codes, config.channels).T.numpy()
    for form in FORMS:
        packed = pack_codec(config.codec, _arrays(codec), form)
        whole = _decode(NativeCodec(native, config.codec, packed, config.channels), codes)
        assert whole.shape == (70 * config.codec.hop_length, config.channels)
        assert _error(whole, expected) < TOLERANCE[form]
        assert NativeCodec(native, config.codec, packed, 1).fingerprint() == codec.fingerprint()


@pytest.mark.parametrize("form", FORMS)
def test_every_processor_and_number_of_threads_gives_the_same_bits(
    native: Library, form: int
) -> None:
    path = find_step_file()
    assert path is not None
    packed = pack_codec(PUBLISHED, _build(PUBLISHED)[1], form)
    codes, results = _draw_codes(PUBLISHED, 8), []
    for threads in (1, 3):
        library = Library(path)
        library.threads = threads
        for level in range(AMX + 1):
            library.functions.native_limit(level)
            results.append(_decode(NativeCodec(library, PUBLISHED, packed, 1), codes))
    assert all(np.array_equal(result, results[0]) for result in results)


def test_the_largest_sums_do_not_overflow(native: Library) -> None:
    """Equal weights and rows of equal values are the largest sums there are."""
    config = dataclasses.replace(PUBLISHED, ratios=(2,), filters=64, residual_layers=0)
    _, arrays = _build(config)
    for name, array in arrays.items():
        arrays[name] = np.full_like(array, 0.01) if "decoder" in name else np.ones_like(array)
    codes = _draw_codes(config, 20)
    exact, rounded = (
        _decode(NativeCodec(native, config, pack_codec(config, arrays, form), 1), codes)
        for form in FORMS
    )
    assert _error(rounded, exact) < 1e-3


def test_nan_is_not_hidden(native: Library) -> None:
    _, arrays = _build(PUBLISHED)
    arrays["codec.codebooks"] = np.full_like(arrays["codec.codebooks"], np.nan)
    for form in FORMS:
        codec = NativeCodec(native, PUBLISHED, pack_codec(PUBLISHED, arrays, form), 1)
        assert np.isnan(_decode(codec, _draw_codes(PUBLISHED, 4))).all()


def test_no_codes_are_no_samples(native: Library) -> None:
    codec = NativeCodec(native, PUBLISHED, pack_codec(PUBLISHED, _build(PUBLISHED)[1], INT16), 1)
    assert _decode(codec, _draw_codes(PUBLISHED, 0)).shape == (0, 1)


def test_descriptions_fit_the_packed_arrays() -> None:
    _, arrays = _build(PUBLISHED)
    for form in FORMS:
        packing = CodecPacking(PUBLISHED, form)
        for name, array in arrays.items():
            packed = packing.pack(name, array)
            shapes = {key: (value.shape, value.dtype) for key, value in packed.items()}
            assert shapes == packing.describe(name, array.shape)


def test_other_weights_are_refused(native: Library) -> None:
    packed = pack_codec(PUBLISHED, _build(PUBLISHED)[1], INT16)
    other = dataclasses.replace(PUBLISHED, filters=8)
    with pytest.raises(CheckpointMismatch, match=r"codec\.decoder\.0\.conv\.weight must be"):
        NativeCodec(native, other, packed, 1)
    del packed["codec.decoder.1.lstm.bias_hh_l0"]
    with pytest.raises(CheckpointMismatch, match="was nothing"):
        NativeCodec(native, PUBLISHED, packed, 1)


def test_an_unknown_padding_is_refused() -> None:
    with pytest.raises(UnsupportedCheckpoint, match="circular"):
        CodecPacking(dataclasses.replace(PUBLISHED, pad_mode="circular"), INT16)
