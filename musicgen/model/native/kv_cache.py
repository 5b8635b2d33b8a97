"""Keys and values of one window, in memory that grows once. Imports no torch.

A long past lies in huge pages. With pages of 4 kB, a step also waits for the addresses of the keys
and values. A huge page takes all its memory at the first use, and the first column of all
heads and layers would take the whole cache, which delays the first audio. A cache therefore begins
with room for a second of music, in small pages.
"""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.model.native.huge_pages import has_huge_pages, reserve_huge_pages

FIRST_COLUMNS = 64
"""Room of a cache before it grows, in columns after the known ones."""
LEAST_BYTES = 2**24
"""Smaller caches stay in small pages."""


class KvCache:
    """Keys and values, two arrays of `shape` (rows, layers, heads, columns, head size).

    `known`: columns that the prefill writes.

    Raises: `MemoryError`, also by `grow`.
    """

    def __init__(self, shape: tuple[int, ...], known: int, dtype: np.dtype[Any]) -> None:
        self._shape, self._dtype = shape, dtype
        columns = shape[3]
        is_large = math.prod(shape) * dtype.itemsize >= LEAST_BYTES and has_huge_pages()
        first = known + FIRST_COLUMNS
        # A copy of more than half the columns saves little memory at the beginning.
        self.columns = first if is_large and 2 * first < columns else columns
        """Columns with room."""
        whole = (*shape[:3], self.columns, shape[4])
        is_huge = is_large and self.columns == columns
        self.keys, self.values = (_reserve(whole, dtype, is_huge) for _ in range(2))

    def grow(self) -> None:
        """Make room for all columns. A failure leaves the cache as it was."""
        new = [_reserve(self._shape, self._dtype, True) for _ in range(2)]
        for old, copy in zip((self.keys, self.values), new, strict=True):
            copy[..., : self.columns, :] = old
        self.keys, self.values = new
        self.columns = self._shape[3]


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
