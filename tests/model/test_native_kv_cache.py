"""Keys and values of the native library, in memory that grows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musicgen.engine.interface import Row
from musicgen.model.native import kv_cache
from musicgen.model.native.huge_pages import HUGE_PAGE, has_huge_pages
from musicgen.model.native.kv_cache import (
    BFLOAT16_FORM,
    FIRST_COLUMNS,
    FLOAT32_FORM,
    INT8_FORM,
    CacheForm,
    KvCache,
)
from musicgen.model.native.library import load_library
from musicgen.model.native.window_state import step_windows
from musicgen.request import SamplingParams
from tests.support.native_models import Windows

native = pytest.mark.skipif(load_library() is None, reason="no native library here")
huge = pytest.mark.skipif(not has_huge_pages(), reason="no huge pages here")
ROWS = (
    Row("slow calm piano", 7, SamplingParams(top_k=20)),
    Row("", 8, SamplingParams(top_p=0.8), "noise"),
)
LARGE = (2, 8, 16, 1000, 64)
FORMS = [INT8_FORM, BFLOAT16_FORM, FLOAT32_FORM]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let caches of small models grow in their third step."""
    monkeypatch.setattr(kv_cache, "LEAST_BYTES", 1)
    monkeypatch.setattr(kv_cache, "FIRST_COLUMNS", 2)


@native
@huge
@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-melody", "head-size-64"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.usefixtures("soon")
def test_a_cache_that_grows_keeps_the_bits(
    checkpoints: Callable[[str], Path], name: str, precision: str
) -> None:
    both = Windows(checkpoints(name), precision, ROWS, 60, 3)
    both.prefill(5)
    columns = set()
    for _ in range(both.torch.total_steps):
        both.torch.step()
        step_windows([both.native])
        assert np.array_equal(both.native.logits, both.torch.logits.numpy())
        columns.add(both.native._cache.columns)
    assert np.array_equal(both.native.sequence, both.torch.sequence.numpy())
    assert len(columns) == 2


@native
@huge
@pytest.mark.usefixtures("soon")
def test_a_cache_that_cannot_grow_can_be_stepped_again(
    checkpoints: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Windows(checkpoints("musicgen-small"), "int8", ROWS, 30, 3)
    both.prefill(None)

    def refuse(size: int) -> None:
        raise MemoryError(size)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(kv_cache, "reserve_huge_pages", refuse)
        while True:
            step_windows([both.native])
    assert 0 < both.native.steps_done < both.native.total_steps
    while both.native.steps_done < both.native.total_steps:
        step_windows([both.native])
    while both.torch.steps_done < both.torch.total_steps:
        both.torch.step()
    assert np.array_equal(both.native.sequence, both.torch.sequence.numpy())


@huge
@pytest.mark.parametrize("form", FORMS)
def test_a_long_cache_begins_small_and_ends_in_huge_pages(form: CacheForm) -> None:
    cache = KvCache(LARGE, 3, form)
    first, whole = (form.compute_shape(columns, 64) for columns in (3 + FIRST_COLUMNS, 1000))
    assert 3 + FIRST_COLUMNS <= cache.columns < 3 + FIRST_COLUMNS + form.together
    assert cache.keys.shape == cache.values.shape == (*LARGE[:3], *first)
    cache.keys[:], cache.values[:] = 1, 2
    cache.grow()
    assert 1000 <= cache.columns < 1000 + form.together
    assert cache.keys.shape == cache.values.shape == (*LARGE[:3], *whole)
    for array, value in ((cache.keys, 1), (cache.values, 2)):
        assert array.ctypes.data % HUGE_PAGE == 0
        assert (array[..., : first[0], :] == value).all()
        assert not array[..., first[0] :, :].any()


@huge
@pytest.mark.parametrize("form", FORMS)
def test_a_cache_that_is_mostly_known_does_not_grow(form: CacheForm) -> None:
    cache = KvCache(LARGE, 600, form)
    assert cache.columns >= 1000 and cache.keys.ctypes.data % HUGE_PAGE == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_short_cache_has_its_room_at_once(form: CacheForm) -> None:
    shape = (2, 2, 4, 20, 64)
    cache = KvCache(shape, 3, form)
    assert 20 <= cache.columns < 20 + form.together
    assert cache.keys.shape == (*shape[:3], *form.compute_shape(20, 64))


def test_without_huge_pages_a_cache_has_its_room_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_cache, "has_huge_pages", lambda: False)
    assert KvCache(LARGE, 3, FLOAT32_FORM).columns == 1000


def test_memory_that_is_refused_is_a_memory_error() -> None:
    more_than_addresses = (2**16, 2**10, 2**4, 2**10, 64)
    with pytest.raises(MemoryError):
        KvCache(more_than_addresses, 2**10, FLOAT32_FORM)


def test_an_int8_cache_takes_little_more_than_half_the_memory() -> None:
    caches = {form: KvCache(LARGE, 600, form) for form in (INT8_FORM, BFLOAT16_FORM)}
    size, half = (caches[form].keys.nbytes for form in (INT8_FORM, BFLOAT16_FORM))
    assert 0.5 < size / half < 0.55
