"""Folders that cannot be written to, and actions in a process without rights."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from musicgen.storage.base import ClipName

NOBODY = 65534
CLIP = ClipName("job", 0, 1, "wav")


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def under(key: str) -> Callable[[ClipName], str]:
    return lambda _name: key


def in_child(action: Callable[[], None], before: Callable[[], None]) -> None:
    """Runs `action` in a forked process whose rights or limits `before` has changed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            before()
            action()
            status = 0
        except BaseException as error:
            os.write(2, f"in the child: {error!r}\n".encode())
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def drop_rights() -> None:
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def open_to_everybody(folder: Path) -> None:
    """pytest closes its folders to other users, whom the tests of rights become."""
    for parent in folder.parents:
        if parent.name.startswith("pytest"):
            parent.chmod(0o755)
    folder.chmod(0o755)


def only_without_rights(action: Callable[[], None], folder: Path) -> None:
    """Permission bits do not bind root, so `action` then runs as nobody."""
    if os.geteuid() == 0:
        open_to_everybody(folder)
        in_child(action, before=drop_rights)
    else:
        action()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own at `folder`; skips the test where none can be mounted."""
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root's rights")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Leaves no byte free on the disk of `folder`."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (2**20, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Closes `folder` and the folders in it to whoever permission bits bind."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        yield
    finally:
        for path in folders:
            path.chmod(0o755)
