"""ctypes bindings of the compiled step. Imports no torch.

The structures mirror those of linear.h and step.cpp; step.cpp documents their fields.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import weakref
from ctypes import POINTER, c_int, c_int32, c_int64, c_void_p
from pathlib import Path

from musicgen.errors.counts import format_count
from musicgen.model.forks import call_after_fork
from musicgen.model.native.step_file import (
    AMX,
    Signatures,
    declare_functions,
    find_step_file,
    has_native_step,
)

BFLOAT16_CACHE, FLOAT32_CACHE, INT8_CACHE = 0, 1, 2
DONE, NO_MEMORY, NO_THREAD = 0, 1, 2
"""Statuses of the native functions, as in failures.h; any other means a fault of the library."""


class LinearFields(ctypes.Structure):
    """The struct `Linear` of linear.h."""

    _fields_ = [
        *((name, c_int32) for name in ("outputs", "inputs", "form", "unused")),
        *((name, c_void_p) for name in ("weights", "scales", "sums")),
    ]


class NativeLayer(ctypes.Structure):
    """The struct of one layer."""

    _fields_ = [
        (name, c_void_p)
        for name in (
            "self_norm_weight",
            "self_norm_bias",
            "qkv",
            "self_out",
            "cross_norm_weight",
            "cross_norm_bias",
            "cross_query",
            "cross_out",
            "ffn_norm_weight",
            "ffn_norm_bias",
            "up",
            "down",
        )
    ]


class NativeDecoder(ctypes.Structure):
    """The struct of the whole decoder."""

    _fields_ = [
        *((name, c_int32) for name in ("layers", "hidden", "heads", "ffn", "activation", "cache")),
        ("layer", POINTER(NativeLayer)),
        ("norm_weight", c_void_p),
        ("norm_bias", c_void_p),
    ]


class NativeRow(ctypes.Structure):
    """The struct of one row of a batch."""

    _fields_ = [
        ("keys", c_void_p),
        ("values", c_void_p),
        ("layer_stride", c_int64),
        ("head_stride", c_int64),
        ("position", c_int32),
        ("first", c_int32),
        ("cross_keys", c_void_p),
        ("cross_values", c_void_p),
        ("cross_layer_stride", c_int64),
        ("cross_head_stride", c_int64),
        ("cross_length", c_int32),
        ("unused", c_int32),
    ]


_SIGNATURES: Signatures = {
    "native_level": (c_int, ()),
    "native_limit": (c_int, (c_int,)),
    "native_open_pool": (c_int, (c_int, POINTER(c_void_p))),
    "native_free_pool": (None, (c_void_p,)),
    "native_publish": (None, (c_void_p, c_void_p)),
    "native_multiply": (c_int, (c_void_p, c_void_p, c_void_p, c_int, c_void_p)),
    "native_attend": (None, (*[c_void_p] * 3, *[c_int] * 4, *[c_void_p] * 2)),
    "native_put_columns": (None, (c_void_p, c_int, c_int, c_int, c_void_p)),
    "native_step": (c_int, (c_void_p, c_void_p, c_void_p, c_int, c_void_p)),
}


class Library:
    """The native functions and their thread pool. Raises: `OutdatedLibrary`."""

    def __init__(self, path: Path, max_level: int = AMX) -> None:
        self.functions = ctypes.CDLL(str(path))
        declare_functions(self.functions, _SIGNATURES)
        self.threads: int | None = None
        """Threads of the pool, if set before its first use."""
        self.level: int = self.functions.native_limit(max_level)
        self._free_pool: weakref.finalize[..., Library] | None = None
        call_after_fork(self, Library.forget_pool)

    @functools.cached_property
    def pool(self) -> int:
        """Address of the thread pool, with `threads` threads at first use.

        Raises: `MemoryError`; `RuntimeError` where the system allows no more threads.
        """
        pool = c_void_p()
        threads = self.threads or _count_threads()
        check_status(
            self.functions.native_open_pool(threads, pool), format_count(threads, "thread")
        )
        self._free_pool = weakref.finalize(self, self.functions.native_free_pool, pool.value)
        return pool.value or 0

    def forget_pool(self) -> None:
        """Leave the pool of a parent process: its threads are not in a fork of it.

        A step would wait for them forever, and so would the end of the process.
        """
        if self._free_pool is not None:
            self._free_pool.detach()
        self._free_pool = None
        self.__dict__.pop("pool", None)


def check_status(status: int, work: str) -> None:
    """Raise the failure that a native function returned; `work` names what it was for.

    Raises: `MemoryError`, `RuntimeError`.
    """
    if status == NO_MEMORY:
        raise MemoryError(f"There is no memory left for {work}.")
    if status == NO_THREAD:
        raise RuntimeError(
            f"The system allows no thread more for {work}. Raise the limit of processes or threads."
        )
    if status != DONE:
        raise RuntimeError(f"The native library failed in {work} (status {status}).")


@functools.cache
def load_library() -> Library | None:
    """Return the compiled library, or None if it was not compiled or the CPU lacks AVX2."""
    path = find_step_file()
    return Library(path) if path is not None and has_native_step() else None


def _count_threads() -> int:
    """Return PyTorch's number of threads where PyTorch is loaded, else the allowed processors."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return len(allowed) or os.cpu_count() or 1
