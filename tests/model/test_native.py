"""The native step: close to float products, independent rows, the same bits on every CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.loading import load_checkpoint
from musicgen.model import kernels as packing
from musicgen.model.config import MusicGenConfig
from musicgen.model.fbgemm import HalfLinear
from musicgen.model.native.forms import FLOAT16, FLOAT32, INT4, INT8
from musicgen.model.native.layer import NativeLinear
from musicgen.model.native.library import (
    BFLOAT16_CACHE,
    FLOAT32_CACHE,
    INT8_CACHE,
    Library,
    load_library,
)
from musicgen.model.native.step_file import AMX, AVX2, AVX_VNNI, VNNI
from musicgen.request import SamplingParams
from tests.support import engines
from tests.support.native_numbers import Array, round_cache, store_cache

compiled = load_library()
pytestmark = pytest.mark.skipif(compiled is None, reason="the native step was not compiled here")
FAMILIES = [
    "musicgen-small",
    "musicgen-stereo-medium",
    "musicgen-melody",
    "three-codebooks",
    "head-size-64",
]
CACHES = [BFLOAT16_CACHE, FLOAT32_CACHE, INT8_CACHE]


@pytest.fixture
def native() -> Iterator[Library]:
    """Yield the library and restore its full level afterwards."""
    assert compiled is not None
    yield compiled
    compiled.functions.native_limit(AMX)


def _levels(native: Library) -> list[int]:
    """Return the levels of this processor. One with AVX-512 may lack AVX-VNNI."""
    return sorted({native.functions.native_limit(most) for most in range(AVX2, AMX + 1)})


def _weight(outputs: int, inputs: int) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.manual_seed(outputs)) / inputs**0.5


@pytest.mark.parametrize("shape", [(16, 16), (3, 5), (70, 33), (128, 256)])
@pytest.mark.parametrize(
    ("form", "error"), [(FLOAT32, 1e-6), (FLOAT16, 1e-3), (INT8, 0.03), (INT4, 0.12)]
)
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9, 17])
def test_a_product_is_near_the_float_one(
    native: Library, shape: tuple[int, int], form: int, error: float, rows: int
) -> None:
    weight = _weight(*shape)
    x = torch.randn(rows, shape[1], generator=torch.manual_seed(rows))
    wanted = x @ weight.t()
    for level in _levels(native):
        native.functions.native_limit(level)
        found = NativeLinear.pack(native, weight, form)(x)
        assert (found - wanted).norm() < error * wanted.norm()


@pytest.mark.parametrize("form", [INT8, INT4])
def test_integers_have_the_same_bits_on_every_processor(native: Library, form: int) -> None:
    """Integer sums are exact in any order."""
    layer, x = NativeLinear.pack(native, _weight(50, 130), form), torch.randn(23, 130)
    found = []
    for level in _levels(native):
        assert native.functions.native_limit(level) == level
        found.append(layer(x))
    assert all(torch.equal(each, found[0]) for each in found)


@pytest.mark.parametrize("form", [FLOAT32, FLOAT16, INT8, INT4])
def test_a_row_does_not_depend_on_those_beside_it(native: Library, form: int) -> None:
    layer, x = NativeLinear.pack(native, _weight(50, 130), form), torch.randn(21, 130)
    x[3] *= 1000
    together = layer(x)
    for row in range(len(x)):
        assert torch.equal(layer(x[row : row + 1])[0], together[row])


@pytest.mark.parametrize("form", [FLOAT32, FLOAT16, INT8, INT4])
def test_what_is_not_a_number_stays_visible(native: Library, form: int) -> None:
    layer, x = NativeLinear.pack(native, torch.ones(8, 16), form), torch.ones(3, 16)
    x[0, 3], x[1, 5] = float("nan"), float("inf")
    found = layer(x)
    assert not found[:2].isfinite().any() and found[2].isfinite().all()
    assert torch.equal(layer(torch.zeros(1, 16)), torch.zeros(1, 8))


def _attend(
    native: Library, query: Array, keys: Array, values: Array, cache: int, first: int = 0
) -> Array:
    """Attend to the columns of keys and values (columns, size) from `first` on."""
    stored = [store_cache(x[None, None], cache) for x in (keys, values)]
    count, size = keys.shape
    scores, out = np.empty(count, np.float32), np.full(size, np.nan, np.float32)
    native.functions.native_attend(
        query.ctypes.data,
        *(x.ctypes.data for x in stored),
        *(cache, first, count - first, size),
        *(scores.ctypes.data, out.ctypes.data),
    )
    return out


@pytest.mark.parametrize("size", [8, 17, 64, 128])
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 31, 33, 200])
@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("cache", CACHES)
def test_attention_is_that_of_float64(
    native: Library, size: int, count: int, spread: float, cache: int
) -> None:
    random = np.random.default_rng(count)
    query = (random.normal(size=size) * spread).astype(np.float32)
    keys, values = random.normal(size=(2, count, size)).astype(np.float32)
    # An int8 query has 16 bits.
    most = (1e-4 if cache == INT8_CACHE else 1e-5) * max(1.0, spread)
    for first in {0, count // 3, count - 1}:
        past = [round_cache(x[first:], cache) for x in (keys, values)]
        scores = past[0] @ query.astype(np.float64) / size**0.5
        weights = np.exp(scores - scores.max())
        wanted = weights / weights.sum() @ past[1]
        for level in _levels(native):
            native.functions.native_limit(level)
            found = _attend(native, query, keys, values, cache, first)
            assert np.abs(found - wanted).max() < most


@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("where", [0, 20])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("cache", CACHES)
def test_attention_hides_nothing_that_is_not_a_number(
    native: Library, size: int, where: int, bad: float, cache: int
) -> None:
    for index in (0, 1):
        past = np.ones((2, 21, size), np.float32)
        past[index, where, 3] = bad
        query = np.ones(size, np.float32)
        for level in _levels(native):
            native.functions.native_limit(level)
            found = _attend(native, query, *past, cache)
            # A value reaches its own outputs only; the factor of an int8 one is that of all.
            assert not np.isfinite(found if index == 0 else found[3]).any()


@pytest.mark.parametrize("size", [8, 17, 64])
@pytest.mark.parametrize("cache", CACHES)
def test_columns_are_stored_as_described(native: Library, size: int, cache: int) -> None:
    numbers = np.random.default_rng(size).normal(size=(35, size)).astype(np.float32)
    numbers[3], numbers[4] = 0, 1e-30
    wanted = store_cache(numbers[None, None], cache)
    for level in _levels(native):
        native.functions.native_limit(level)
        found = np.zeros_like(wanted)
        native.functions.native_put_columns(
            numbers.ctypes.data, len(numbers), size, cache, found.ctypes.data
        )
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("precision", "error"), [("float32", 1e-4), ("bfloat16", 0.05), ("int8", 0.25), ("int4", 0.8)]
)
@pytest.mark.parametrize("level", [AVX2, AVX_VNNI, VNNI, AMX])
def test_the_likelihood_of_music_is_that_of_float32(
    checkpoints: Callable[[str], Path],
    native: Library,
    name: str,
    precision: str,
    error: float,
    level: int,
) -> None:
    """Covers the whole step: prefixes, several columns, prompts, cache, norms and activation."""
    native.functions.native_limit(level)
    folder = checkpoints(name)
    reference = engines.engine(folder, compiled=False)
    assert engines.model_of(reference).decoder.native is None
    engine = engines.engine(folder, precision)
    assert engines.model_of(engine).decoder.native is not None
    pcm = torch.randn(20_000, engine.config.channels, generator=torch.manual_seed(1)).numpy() * 0.1
    for prompt in (engines.PROMPTS[0], ""):
        wanted = reference.negative_log_likelihood(prompt, pcm)
        found = engine.negative_log_likelihood(prompt, pcm)
        assert abs(found - wanted).max() < error


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "int4"])
def test_a_batch_makes_the_bits_of_each_clip_alone(
    checkpoints: Callable[[str], Path], name: str, precision: str
) -> None:
    """Also with padded prompts of different lengths."""
    engine = engines.engine(checkpoints(name), precision)
    sampling = SamplingParams(1.0, 20, 0.0, 3.0)
    rows = [Row(prompt, 3, sampling) for prompt in (*engines.PROMPTS, "", "bells")]
    together = engines.run(engine, GenerationJob(tuple(rows), 30)).codes
    for row, codes in zip(rows, together, strict=True):
        assert (engines.run(engine, GenerationJob((row,), 30)).codes[0] == codes).all()


def test_without_a_compiler_pytorch_packs_the_weights(
    checkpoints: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoints("musicgen-small")
    monkeypatch.setattr(packing, "load_library", lambda: None)
    config = MusicGenConfig.from_folder(folder)
    engine = load_checkpoint(folder, config, "cpu", "bfloat16")
    assert engines.model_of(engine).decoder.native is None
    assert any(isinstance(m, HalfLinear) for m in engines.model_of(engine).decoder.modules())


def test_weights_that_float16_cannot_hold_are_not_made_infinite(
    checkpoints: Callable[[str], Path],
) -> None:
    folder = checkpoints("musicgen-small")
    config = MusicGenConfig.from_folder(folder)
    engine = load_checkpoint(folder, config, "cpu", "float32", compiled=False)
    with torch.inference_mode():
        engines.model_of(engine).decoder.layers[0].up.weight[0, 0] = 1e6  # type: ignore[union-attr, operator]
    pack = packing.choose_packing("bfloat16")
    assert pack is not None
    pack(engines.model_of(engine))
    assert engines.model_of(engine).decoder.native is None
