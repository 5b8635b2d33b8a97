"""Threads of this process's computations: those of the native library, and PyTorch's."""

from __future__ import annotations

import sys

from musicgen.model.native.library import load_library

_count: int | None = None


def use_threads(count: int) -> None:
    """Compute with `count` threads, also in PyTorch once it is imported.

    The native library takes the number at its first use.
    """
    global _count
    _count = count
    library = load_library()
    if library is not None:
        library.threads = count
    limit_torch()


def limit_torch() -> None:
    """Give an imported PyTorch the number of threads of `use_threads`; without one do nothing."""
    torch = sys.modules.get("torch")
    if torch is not None and _count is not None:
        torch.set_num_threads(_count)
