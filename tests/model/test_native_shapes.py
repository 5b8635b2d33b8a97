"""Odd shapes in the native library, against the same arithmetic in float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.model.native.library import (
    BFLOAT16_CACHE,
    FLOAT32_CACHE,
    INT8_CACHE,
    load_library,
)
from musicgen.model.native.step_file import AMX, AVX2
from tests.support.native_library import open_library, restore_level
from tests.support.native_numbers import (
    FLOAT16,
    FLOAT32,
    GELU,
    INT4,
    INT8,
    INTEGERS,
    RELU,
    Decoder,
    Linear,
    Row,
    Shape,
)

compiled = load_library()
pytestmark = pytest.mark.skipif(compiled is None, reason="the native step was not compiled here")
FORMS = [INT8, INT4, FLOAT16, FLOAT32]
TOP = compiled.functions.native_level() if compiled is not None else AMX
SEEDS = st.integers(0, 2**32 - 1)
LEVELS, THREADS = st.integers(AVX2, TOP), st.integers(1, 4)

SHAPES = st.builds(
    Shape,
    layers=st.integers(1, 2),
    heads=st.integers(1, 5),
    head_size=st.sampled_from([1, 2, 3, 7, 8, 16, 17, 31, 64, 65]),
    ffn=st.integers(1, 150),
    form=st.sampled_from(FORMS),
    cache=st.sampled_from([BFLOAT16_CACHE, FLOAT32_CACHE, INT8_CACHE]),
    activation=st.sampled_from([GELU, RELU]),
    has_cross=st.booleans(),
)
ROWS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.none() | st.integers(1, 33)),
    min_size=1,
    max_size=40,
)


@pytest.fixture(autouse=True)
def full_level() -> Iterator[None]:
    yield
    restore_level()


@settings(max_examples=150)
@given(
    st.integers(1, 200), st.integers(1, 300), st.integers(1, 70), st.sampled_from(FORMS),
    LEVELS, THREADS, SEEDS, st.sampled_from([1e-20, 1.0, 1e20]),
)  # fmt: skip
def test_a_product_of_any_shape(
    outputs: int,
    inputs: int,
    rows: int,
    form: int,
    level: int,
    threads: int,
    seed: int,
    spread: float,
) -> None:
    random = np.random.default_rng(seed)
    linear = Linear(random.normal(size=(outputs, inputs)), form)
    x = (random.normal(size=(rows, inputs)) * spread).astype(np.float32)
    library = open_library(threads)
    library.functions.native_limit(level)
    found, expected = linear.multiply(library, x), linear.expect(x)
    if form in INTEGERS and spread >= 1:
        np.testing.assert_array_equal(found, expected)
    size = np.abs(x).astype(np.float64) @ np.abs(linear.numbers.astype(np.float64)).T
    if form not in INTEGERS:
        assert (np.abs(found - expected) <= 1e-5 * size).all()
    alone = linear.multiply(open_library(1), x[rows // 2 : rows // 2 + 1])
    np.testing.assert_array_equal(alone[0], found[rows // 2])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_thread_may_have_any_number_of_blocks(form: int, rows: int) -> None:
    """Few rows are read as four streams, and the blocks left over as two or one."""
    random = np.random.default_rng(rows)
    x = random.normal(size=(rows, 21)).astype(np.float32)
    for outputs in range(5, 20 * 16, 16):
        linear = Linear(random.normal(size=(outputs, 21)), form)
        found = linear.multiply(open_library(1), x)
        np.testing.assert_allclose(found, linear.expect(x), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found, linear.multiply(open_library(3), x))


def _rows(decoder: Decoder, kinds: list[tuple[int, int, int | None]]) -> list[Row]:
    """Make the rows anew: a step writes to their caches."""
    return [
        Row(decoder, index, position, min(first, position), cross)
        for index, (position, first, cross) in enumerate(kinds)
    ]


@settings(max_examples=100)
@given(SHAPES, ROWS, LEVELS, THREADS, SEEDS)
def test_a_step_of_any_shape(
    shape: Shape,
    kinds: list[tuple[int, int, int | None]],
    level: int,
    threads: int,
    seed: int,
) -> None:
    decoder = Decoder(shape, seed)
    x = np.random.default_rng(seed).normal(size=(len(kinds), shape.hidden)).astype(np.float32)
    library = open_library(threads)
    library.functions.native_limit(level)
    rows = _rows(decoder, kinds)
    found = decoder.step(library, rows, x)
    expected = decoder.expect(rows, x)
    error = 0.15 if shape.form in INTEGERS else 1e-4 if shape.cache == FLOAT32_CACHE else 0.02
    if shape.hidden > 2:
        for one, other in zip(found, expected, strict=True):
            assert np.linalg.norm(one - other) <= error * max(np.linalg.norm(other), 1)
    else:
        assert np.isfinite(found).all()
    middle = len(kinds) // 2
    for kept in (middle, slice(middle, None)):
        some = _rows(decoder, kinds)[kept]
        some = some if isinstance(some, list) else [some]
        again = decoder.step(open_library(1), some, np.atleast_2d(x[kept]))
        np.testing.assert_array_equal(again, np.atleast_2d(found[kept]))
