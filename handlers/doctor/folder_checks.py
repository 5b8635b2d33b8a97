"""Checks of the folders to write to: right to write, room, and a local file system."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from handlers.doctor.finding import Finding
from handlers.doctor.plan import ServerPlan
from musicgen.errors import StorageError
from musicgen.storage.local import LocalStorage

CHECK = "data folder"
CLIPS_BYTES = 64 * 2**20
"""Room for some clips of five minutes, in bytes."""
LOW_BYTES = 2**30
"""Free space worth a warning, in bytes."""
_MOUNTS = Path("/proc/self/mounts")
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "fuse.sshfs", "fuse.s3fs")


def check_folders(plan: ServerPlan) -> Iterator[Finding]:
    """Write a file into each folder in use, and yield a finding for each.

    Raises: `NotWritable`, `DiskFull`, `StorageError`.
    """
    data = plan.api.data_dir
    yield from _check_folder(CHECK, "MUSICGEN_DATA_DIR", data)
    kind = read_file_system(data)
    if plan.api.database_url is None and kind in _REMOTE:
        yield Finding(
            CHECK,
            "warning",
            f"{data} is on a network file system ({kind}), unfit for the embedded database. Set "
            "DATABASE_URL, or choose a local folder.",
        )
    spool = plan.settings.spool_dir
    if plan.settings.bucket.name is not None and data not in spool.parents:
        yield from _check_folder("spool folder", "MUSICGEN_SPOOL_DIR", spool)


def read_file_system(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the type of the file system of `folder`, such as "ext4"; None if unknown."""
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    place, best, kind = folder.absolute().resolve(), Path("/"), None
    for line in lines:
        _, point, found, *_ = line.split(" ")
        path = Path(point.replace("\\040", " "))
        if (path == place or path in place.parents) and len(path.parts) >= len(best.parts):
            best, kind = path, found
    return kind


def _check_folder(check: str, variable: str, folder: Path) -> Iterator[Finding]:
    missing: list[Path] = []
    # `exists` raises where a folder above may not be searched.
    with suppress(OSError):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        LocalStorage(folder).prepare(CLIPS_BYTES)
        disk = shutil.disk_usage(folder)
    except StorageError as error:
        raise type(error)(f"{variable}: {error}") from None
    finally:
        # Made by another user, they would be closed to the server.
        for path in missing:
            with suppress(OSError):
                path.rmdir()
    text = f"{folder.absolute()} is writable, {disk.free / 1e9:.1f} GB free"
    if disk.total and disk.free < LOW_BYTES:
        yield Finding(check, "warning", f"{text}. Make room before the disk is full.")
    else:
        yield Finding(check, "ok", text)
