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


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
@pytest.mark.parametrize(("call", "most"), [("limit_arenas()", 2), ("None", 100)])
def test_threads_share_two_arenas(call: str, most: int) -> None:
    """Each of up to eight arenas for a processor kept what it could not return."""
    code = f"""
import ctypes, threading
from musicgen.process.resources import limit_arenas
{call}
barrier = threading.Barrier(9)
def hold():
    kept = [bytearray(10_000) for _ in range(100)]
    barrier.wait()
    barrier.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
[thread.start() for thread in threads]
barrier.wait()
ctypes.CDLL(None).malloc_stats()
barrier.wait()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    arenas = ended.stderr.count("Arena ")
    assert arenas <= most and (arenas > 2 or most == 2)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
