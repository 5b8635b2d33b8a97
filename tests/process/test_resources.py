"""Quota and memory of the container, not of the host."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import weakref
from contextlib import suppress
from pathlib import Path

import pytest

from musicgen.process.resources import (
    cpu_quota,
    free_memory,
    return_free_memory,
    return_free_memory_regularly,
)
from tests.support import ROOT


@pytest.mark.parametrize(("cpu_max", "expected"), [("100000 100000", 1), ("150000 100000", 2)])
def test_threads_follow_the_cgroup(tmp_path: Path, cpu_max: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max)
    assert cpu_quota(tmp_path) == min(expected, len(os.sched_getaffinity(0)))


def test_without_a_quota_all_processors_count(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cpu_quota(tmp_path) == cpu_quota(tmp_path / "none") == len(os.sched_getaffinity(0))


def test_free_memory_is_the_smaller_of_host_and_container(tmp_path: Path) -> None:
    host = free_memory("cpu", tmp_path)
    assert host is not None and host > 1e8
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 400000\n")
    assert free_memory("cpu", tmp_path) == 2_400_000


def test_freed_blocks_go_back_to_the_system() -> None:
    """Blocks below the allocator's mmap threshold, each kept from its neighbour by a small one."""
    blocks = [bytearray(100_000) for _ in range(1000)]
    kept = blocks[::50]
    full = _resident()
    del blocks
    return_free_memory()
    assert _resident() < full - 50_000_000
    assert len(kept) == 20


def test_unreachable_objects_go_without_new_ones() -> None:
    """After a flood of failed calls an idle API kept 50 MB of their tracebacks."""

    class Node:
        itself: Node

    def make() -> weakref.ref[Node]:
        node = Node()
        node.itself = node
        return weakref.ref(node)

    async def wait(node: weakref.ref[Node]) -> None:
        task = asyncio.create_task(return_free_memory_regularly(0.01))
        for _ in range(500):
            await asyncio.sleep(0.01)
            if node() is None:
                break
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    gc.disable()
    try:
        node = make()
        asyncio.run(wait(node))
        assert node() is None
    finally:
        gc.enable()


glibc = pytest.mark.skipif(sys.platform != "linux", reason="of glibc")


@glibc
@pytest.mark.parametrize("is_limited", [True, False])
def test_threads_share_two_arenas(is_limited: bool) -> None:
    """Each of up to eight arenas for a processor kept what it could not return."""
    text = _run_limited(is_limited, _HOLD_IN_THREADS).stderr
    assert (text.count("Arena ") <= 2) is is_limited, text


@glibc
@pytest.mark.parametrize("is_limited", [True, False])
def test_a_large_block_of_a_thread_is_returned(is_limited: bool) -> None:
    """After a flood 20 MB of a body stayed in a thread's arena, whatever was returned."""
    kept = int(_run_limited(is_limited, _FREE_IN_THREAD).stdout)
    assert (kept < 5_000_000) is is_limited, kept


_HOLD_IN_THREADS = """
barrier = threading.Barrier(9)
def hold():
    kept = [bytearray(10_000) for _ in range(100)]
    barrier.wait()
    barrier.wait()
for _ in range(8):
    threading.Thread(target=hold).start()
barrier.wait()
ctypes.CDLL(None).malloc_stats()
barrier.wait()
"""
_FREE_IN_THREAD = """
def read_resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
def work():
    # A freed block raises the limit for the next ones.
    for size in (20_000_000, 19_000_000, 19_000_000):
        bytes(bytearray(size))
before = read_resident()
thread = threading.Thread(target=work)
thread.start()
thread.join()
resources.return_free_memory()
print(read_resident() - before)
"""


def _run_limited(is_limited: bool, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, with or without `limit_kept_memory`."""
    begin = "import ctypes, os, threading\nfrom musicgen.process import resources\n"
    if is_limited:
        begin += "resources.limit_kept_memory()\n"
    return subprocess.run(
        [sys.executable, "-c", begin + code], cwd=ROOT, capture_output=True, text=True, check=True
    )


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
