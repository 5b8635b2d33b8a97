"""Storage in a local folder: a clip appears complete under its name, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from musicgen.disk_errors import check_replaceable, translate_disk_errors
from musicgen.errors import DiskFull, StorageError
from musicgen.storage.base import ClipFile, ClipName, put_all_or_none

RESERVE_BYTES = 16 * 2**20
"""Free space beyond the expected clips: logs and other jobs write to the same disk."""


def build_dated_key(name: ClipName) -> str:
    """Return "2025-01-31/JOB/clip.wav", or "clip-1.wav" etc. for several clips; the date is UTC."""
    day = datetime.now(UTC).date().isoformat()
    number = f"-{name.index + 1}" if name.count > 1 else ""
    return f"{day}/{name.job_id}/clip{number}{name.suffix}"


class LocalStorage:
    """Storage under `folder`; `key` makes the relative path from a clip's name."""

    def __init__(self, folder: Path, key: Callable[[ClipName], str] = build_dated_key) -> None:
        self.folder = folder
        self._key = key

    def prepare(self, expected_bytes: int) -> None:
        """Create the folder and test it by writing a file.

        Raises: `NotWritable`; `DiskFull` for less free space than `expected_bytes` and 16 MiB;
        `StorageError` for another failure of the file system.
        """
        with translate_disk_errors(self.folder):
            # Permission bits are not enough: root, read-only mounts and access lists overrule them.
            probe = self.folder / f".probe-{uuid4().hex}"
            write_atomically(probe, [b"probe"])
            probe.unlink()
            disk = shutil.disk_usage(self.folder)
        # Some network mounts report a size of zero: they are not full.
        if disk.total and disk.free < expected_bytes + RESERVE_BYTES:
            raise DiskFull(
                f"{self.folder} has {disk.free / 1e6:.1f} MB free, but needs "
                f"{(expected_bytes + RESERVE_BYTES) / 1e6:.1f} MB. Free some space "
                "or choose another folder."
            )

    def put_all(self, files: Sequence[ClipFile]) -> list[str]:
        """Store the clips of one job and return their paths; keep none after an error of `put`."""
        return put_all_or_none(self, files)

    def put(
        self,
        name: ClipName,
        blocks: Iterable[bytes],
        content_type: str,
        metadata: Mapping[str, str],
    ) -> str:
        """Write a clip and return its path; its type and metadata are dropped.

        Raises: `DiskFull`, `NotWritable`, `StorageError`, the last also for a key outside the
        folder.
        """
        key = self._key(name)
        if any(part in ("", ".", "..") for part in key.split("/")) or "\0" in key:
            raise StorageError(f"the key {key!r} is not the name of a file inside {self.folder}.")
        path = self.folder / key
        with translate_disk_errors(path.parent):
            write_atomically(path, blocks)
        return str(path)

    def remove(self, address: str) -> None:
        """Delete the file, and folders below `folder` left empty.

        Raises: `StorageError`, also for an address outside the folder.
        """
        path = Path(address)
        if self.folder not in path.parents or ".." in path.relative_to(self.folder).parts:
            raise StorageError(f"{address!r} is not a clip in {self.folder}; nothing was deleted.")
        with translate_disk_errors(path.parent):
            path.unlink(missing_ok=True)
        for parent in path.parents:
            if self.folder not in parent.parents:
                return
            with suppress(OSError):
                parent.rmdir()


def write_atomically(path: Path, blocks: Iterable[bytes]) -> None:
    """Write `blocks` under a temporary name in the folder of `path`, then rename the file.

    Creates missing folders. Removes the file and these folders after an error. Raises: OSError,
    `NotWritable` for a device.
    """
    check_replaceable(path)
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, blocks)
    except BaseException:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise


def _replace(path: Path, blocks: Iterable[bytes]) -> None:
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.writelines(blocks)
            file.flush()
            # Without it a power cut can leave the new name on a file without its bytes.
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
