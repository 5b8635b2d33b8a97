"""Keys and values of one window, in memory that grows once, and their formats. Imports no torch.

A long past lies in huge pages. With pages of 4 kB, a step also waits for the addresses of the keys
and values. A huge page takes all its memory at the first use, and the first column of all
heads and layers would take the whole cache, which delays the first audio. A cache therefore begins
with room for a second of music, in small pages.
"""

from __future__ import annotations

import math
import mmap
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicgen.model.native.forms import FLOAT32, INT4, INT8
from musicgen.model.native.huge_pages import has_huge_pages, reserve_huge_pages
from musicgen.model.native.library import BFLOAT16_CACHE, FLOAT32_CACHE, INT8_CACHE

FIRST_COLUMNS = 64
"""Room of a cache before it grows, in columns after the known ones."""
LEAST_BYTES = 2**24
"""Smaller caches stay in small pages."""


class CacheForm(NamedTuple):
    """Format of a KV cache, as in kv_cache.h.

    `number` names it to the native library. `dtype` is the type of keys and values, `prompt_dtype`
    that of a prompt's for cross-attention; uint16 has the bits of bfloat16. `together` columns lie
    together: first their numbers, then, if they are int8, a float32 factor for each column.
    """

    number: int
    dtype: np.dtype[Any]
    prompt_dtype: np.dtype[Any]
    together: int = 1

    def compute_shape(self, columns: int, head_dim: int) -> tuple[int, int]:
        """Return the last two dimensions of keys or values with room for `columns`."""
        factors = 4 if self.dtype == np.int8 else 0
        return -(-columns // self.together), self.together * (head_dim + factors)


_BITS = np.dtype(np.uint16)
INT8_FORM = CacheForm(INT8_CACHE, np.dtype(np.int8), _BITS, together=16)
BFLOAT16_FORM = CacheForm(BFLOAT16_CACHE, _BITS, _BITS)
FLOAT32_FORM = CacheForm(FLOAT32_CACHE, np.dtype(np.float32), np.dtype(np.float32))


def choose_cache_form(weights: int) -> CacheForm:
    """Return the format of the cache beside weights of a format of `forms`."""
    if weights in (INT8, INT4):
        return INT8_FORM
    return FLOAT32_FORM if weights == FLOAT32 else BFLOAT16_FORM


class KvCache:
    """Keys and values, arrays (rows, layers, heads, *form.compute_shape(columns, head size)).

    `shape`: rows, layers, heads, columns and head size. `known`: columns that the prefill writes.

    Raises: `MemoryError`, also by `grow`.
    """

    def __init__(self, shape: tuple[int, ...], known: int, form: CacheForm) -> None:
        self._form, columns = form, shape[3]
        self._whole = (*shape[:3], *form.compute_shape(*shape[3:]))
        is_large = math.prod(self._whole) * form.dtype.itemsize >= LEAST_BYTES and has_huge_pages()
        first = known + FIRST_COLUMNS
        # A copy of more than half the columns saves little memory at the beginning.
        is_first = is_large and 2 * first < columns
        begin = (*shape[:3], *form.compute_shape(first, shape[4])) if is_first else self._whole
        is_huge = is_large and not is_first
        self.keys, self.values = (_reserve(begin, form.dtype, is_huge) for _ in range(2))

    @property
    def columns(self) -> int:
        """Columns with room."""
        return int(self.keys.shape[3]) * self._form.together

    def grow(self) -> None:
        """Make room for all columns. A failure leaves the cache as it was."""
        new = [_reserve(self._whole, self._form.dtype, True) for _ in range(2)]
        for old, copy in zip((self.keys, self.values), new, strict=True):
            copy[..., : old.shape[3], :] = old
        self.keys, self.values = new


def _reserve(shape: tuple[int, ...], dtype: np.dtype[Any], is_huge: bool) -> NDArray[Any]:
    """Return an array of zeros whose pages take memory at their first use.

    Unless asked, no page is a huge one, as they are in numpy's own large arrays.
    """
    size = max(math.prod(shape) * dtype.itemsize, 1)
    memory = reserve_huge_pages(size) if is_huge else None
    if memory is None:
        memory = _reserve_small_pages(size)
    return np.frombuffer(memory, dtype, math.prod(shape)).reshape(shape)


def _reserve_small_pages(size: int) -> Any:
    try:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no memory for {size / 1e6:.0f} MB of keys or values") from error
