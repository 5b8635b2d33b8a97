"""A limit of memory for a process and its children, kept by Linux where control groups allow it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup/memory")


class MemoryGroup:
    """A control group below that of this process. `folder` None: not permitted here."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def add(self, pid: int) -> None:
        """Put a process under the limit; its later children are under it too."""
        if self._folder is not None:
            (self._folder / "cgroup.procs").write_text(str(pid))

    @property
    def failures(self) -> int:
        """How often the limit was reached, also by the pages of files, which are given up then."""
        if self._folder is None:
            return 0
        return int((self._folder / "memory.failcnt").read_text())

    @property
    def kills(self) -> int:
        """How many processes were killed for the limit."""
        if self._folder is None:
            return 0
        lines = (self._folder / "memory.oom_control").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


@contextmanager
def memory_group(size: int) -> Iterator[MemoryGroup]:
    """A group limited to `size` bytes, deleted on leaving the context: its processes ended."""
    folder = None
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line.split(":", 2)[2] for line in lines if line.split(":")[1] == "memory")
        child = _ROOT / own.lstrip("/") / f"musicgen-test-{os.getpid()}"
        child.mkdir()
        try:
            (child / "memory.limit_in_bytes").write_text(str(size))
            folder = child
        except OSError:
            child.rmdir()
    try:
        yield MemoryGroup(folder)
    finally:
        if folder is not None:
            _delete(folder)


def _delete(folder: Path) -> None:
    """Delete a group once its last process has ended; a child may outlive its parent."""
    end = time.monotonic() + 10
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return
