"""Memory in huge pages, for weights that every decode step reads.

With pages of 4 kB, a processor waits as much for the addresses of a model's weights as for the
weights: its tables hold the addresses of a few thousand pages only.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HUGE_PAGE = 2**21
_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def has_huge_pages(enabled: Path = _ENABLED) -> bool:
    """Whether this system gives huge pages to those who ask."""
    try:
        return "[never]" not in enabled.read_text() and hasattr(mmap, "MADV_HUGEPAGE")
    except OSError:
        return False


def reserve_huge_pages(size: int) -> NDArray[np.uint8] | None:
    """Return `size` zero bytes that begin at a huge page, or None where there are none to be had.

    They take memory at their first use.
    """
    if not has_huge_pages():
        return None
    try:
        pages = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages.madvise(mmap.MADV_HUGEPAGE)
    except OSError:
        return None
    data = np.frombuffer(pages, np.uint8)
    start = -data.ctypes.data % HUGE_PAGE
    return data[start : start + size]
