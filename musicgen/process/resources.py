"""Resources of this process: the processor quota and free memory of its container."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# Numbers of these parameters in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 128 * 1024
"""glibc's own first value of both limits."""


def cpu_quota(cgroup: Path = _CGROUP) -> int:
    """Return the number of threads able to run at once.

    This is the cgroup's CPU quota, or else the number of allowed processors. With more threads than
    quota, decoding becomes several times slower.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        return max(1, min(available or 1, math.ceil(int(quota) / int(period))))
    return available or 1


def free_memory(device: str, cgroup: Path = _CGROUP) -> int | None:
    """Return the free bytes on "cpu" or "cuda:N", or None if unknown.

    Memory cached by PyTorch's allocator, as a closed engine leaves it, is freed first.
    """
    if device != "cpu":
        import torch

        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    free = [value for value in (_system_free(), _cgroup_free(cgroup)) if value is not None]
    return min(free, default=None)


def return_free_memory() -> None:
    """Return freed memory to the system; does nothing without glibc.

    Reading a checkpoint frees hundreds of blocks. glibc would keep them for this process.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return


def limit_kept_memory() -> None:
    """Make the allocator keep little of what is freed; does nothing without glibc.

    By default glibc opens up to eight arenas for each processor, and each keeps what it cannot
    return. It also raises its limits with the freed blocks. Then a body of 20 MB lies in the arena
    of a thread and stays at its top when freed: `malloc_trim` returns the top of the first arena
    only. With fixed limits large blocks are mappings of their own, returned at once.

    Call this before the first thread starts.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 2)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)


async def return_free_memory_regularly(seconds: float = 10.0) -> None:
    """Free unreachable objects and return memory to the system every `seconds`, until cancelled.

    Python looks for unreachable cycles only while new objects are made. After a flood of failed
    calls their tracebacks, each with a body, would stay until the next flood.
    """
    # Imported by servers alone.
    import asyncio

    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(_free_unreachable_objects)


def _free_unreachable_objects() -> None:
    gc.collect()
    return_free_memory()


def _system_free() -> int | None:
    for line in _read(Path("/proc/meminfo")).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _cgroup_free(cgroup: Path) -> int | None:
    limit, used = _read(cgroup / "memory.max"), _read(cgroup / "memory.current")
    if not limit.strip().isdigit() or not used.strip().isdigit():
        return None
    # The page cache counts as used, but is freed on demand.
    cache = 0
    for line in _read(cgroup / "memory.stat").splitlines():
        if line.startswith("inactive_file "):
            cache = int(line.split()[1])
    return int(limit) - int(used) + cache


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
