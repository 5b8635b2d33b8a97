"""Spool of clips on their way to a bucket: written to disk first, so that no clip is lost.

An entry is two files: NAME.clip, and NAME.json with its destination. NAME.json is written after
NAME.clip is complete, so every entry holds a complete clip. The process that writes or sends an
entry locks NAME.clip. The system releases the lock when the process ends, even if it is killed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO
from uuid import uuid4

from musicgen.disk_errors import translate_disk_errors
from musicgen.errors import StorageError
from musicgen.settings import BucketSettings
from musicgen.storage.local import write_atomically

ABANDONED_SECONDS = 24 * 3600
STRAY_SECONDS = 7 * 24 * 3600
"""Life of a clip addressed to another bucket than the configured one: nothing may send it."""


@dataclass(frozen=True)
class UploadTarget:
    """Destination of a clip, with its headers. Holds no credentials, because it lies on disk."""

    bucket: str
    key: str
    content_type: str
    disposition: str
    metadata: dict[str, str] = field(default_factory=dict)
    endpoint_url: str | None = None
    region: str | None = None
    addressing: str = "auto"
    encryption: str = "none"
    kms_key: str | None = None
    storage_class: str | None = None
    tags: str | None = None

    @classmethod
    def build(
        cls,
        bucket: BucketSettings,
        key: str,
        content_type: str,
        disposition: str,
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> UploadTarget:
        """Return the destination `key` in `bucket`, with the headers of the settings."""
        return cls(
            bucket=bucket.name or "",
            key=key,
            content_type=content_type,
            disposition=disposition,
            metadata=dict(metadata),
            endpoint_url=bucket.endpoint_url,
            region=bucket.region,
            addressing=bucket.addressing,
            encryption=bucket.encryption,
            kms_key=bucket.kms_key,
            storage_class=bucket.storage_class,
            tags=bucket.tags,
        )


@dataclass(frozen=True)
class SpoolEntry:
    """Complete clip in the spool; `file` is open and locked by this process."""

    target: UploadTarget
    path: Path
    file: BinaryIO

    @property
    def size(self) -> int:
        """Bytes of the clip."""
        return os.fstat(self.file.fileno()).st_size

    @property
    def age(self) -> float:
        """Seconds since the clip was written."""
        return time.time() - os.fstat(self.file.fileno()).st_mtime


class Spool:
    """Entries in `folder`, which several processes may share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        target: UploadTarget,
        blocks: Iterable[bytes],
        on_block: Callable[[BinaryIO, int], None] = lambda _file, _size: None,
    ) -> SpoolEntry:
        """Write a clip and return its entry, locked.

        `on_block` is called after each block with the file and its size in bytes. An error of
        `blocks` passes through and leaves no file behind. Raises: `DiskFull`, `NotWritable`,
        `StorageError`.
        """
        path = self.folder / f"{uuid4().hex}.clip"
        with translate_disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = path.open("xb")
        try:
            _lock(file, is_blocking=True)
            size = 0
            for block in blocks:
                with translate_disk_errors(self.folder):
                    file.write(block)
                    file.flush()
                size += len(block)
                on_block(file, size)
            with translate_disk_errors(self.folder):
                os.fsync(file.fileno())
                description = json.dumps(asdict(target), indent=1)
                write_atomically(path.with_suffix(".json"), [description.encode()])
        except BaseException:
            path.unlink(missing_ok=True)
            file.close()
            raise
        return SpoolEntry(target, path, file)

    def list_waiting(self) -> list[Path]:
        """Return the clips of all entries, the oldest first; some may be in transfer."""
        times = {}
        for description in self.folder.glob("*.json"):
            # Another process may finish with one at any moment.
            with suppress(FileNotFoundError):
                path = description.with_suffix(".clip")
                times[path] = path.stat().st_mtime
        return sorted(times, key=times.__getitem__)

    def list_unfinished(self) -> list[Path]:
        """Return clips without a description: unfinished, or left by a killed process."""
        clips = self.folder.glob("*.clip")
        return sorted(path for path in clips if not path.with_suffix(".json").exists())

    @contextmanager
    def lock(self, path: Path) -> Iterator[SpoolEntry | None]:
        """Lock an entry of `list_waiting`; None if another process has locked or just sent it.

        Raises: `StorageError` for an unreadable description.
        """
        try:
            file = path.open("rb")
        except FileNotFoundError:
            yield None
            return
        with file:
            try:
                # Read after locking: another process may just have sent the clip.
                target = _read_target(path) if _lock(file) else None
            except FileNotFoundError:
                target = None
            yield None if target is None else SpoolEntry(target, path, file)

    def remove(self, entry: SpoolEntry) -> None:
        """Delete an entry, because the bucket has the clip or nobody needs it."""
        # The description first: a clip without one is never sent again.
        for path in (entry.path.with_suffix(".json"), entry.path):
            path.unlink(missing_ok=True)
        entry.file.close()

    def release(self, entry: SpoolEntry) -> None:
        """Unlock an entry and leave it for a later attempt."""
        entry.file.close()

    def list_strays(self, is_own: Callable[[UploadTarget], bool]) -> list[Path]:
        """Return the clips addressed to somebody else than the operator.

        Earlier versions put the clips of callers' buckets here. `is_own`: whether a destination is
        the operator's.
        """
        strays = []
        for path in self.list_waiting():
            # Just sent by another process, or not readable: an error of `lock`.
            with suppress(FileNotFoundError, StorageError):
                if not is_own(_read_target(path)):
                    strays.append(path)
        return strays

    def sweep_strays(
        self, is_own: Callable[[UploadTarget], bool], older_than: float = STRAY_SECONDS
    ) -> int:
        """Delete the clips of `list_strays` of at least this age in seconds; return their number.

        A clip in transfer by another process stays.
        """
        swept = 0
        for path in self.list_strays(is_own):
            with suppress(OSError), path.open("rb") as file:
                if time.time() - path.stat().st_mtime > older_than and _lock(file):
                    path.with_suffix(".json").unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
                    swept += 1
        return swept

    def discard(self, is_gone: Callable[[UploadTarget], bool]) -> None:
        """Delete the entries that nobody needs. A clip in transfer by another process stays."""
        for path in self.list_waiting():
            with suppress(StorageError), self.lock(path) as entry:
                if entry is not None and is_gone(entry.target):
                    self.remove(entry)

    def sweep(self, older_than: float = ABANDONED_SECONDS) -> int:
        """Delete unfinished clips left by killed processes; return their number.

        `older_than`: least age of such a clip, in seconds.
        """
        swept = 0
        for path in self.folder.glob("*.clip"):
            with suppress(OSError), path.open("rb") as file:
                is_old = time.time() - path.stat().st_mtime > older_than
                if is_old and _lock(file) and not path.with_suffix(".json").exists():
                    path.unlink()
                    swept += 1
        return swept


def _read_target(path: Path) -> UploadTarget:
    """Return the destination of a clip. Raises: FileNotFoundError, `StorageError`."""
    description = path.with_suffix(".json")
    try:
        return UploadTarget(**json.loads(description.read_bytes()))
    except (ValueError, TypeError):
        raise StorageError(
            f"{description} is not a valid description of a clip. Delete it, and the clip "
            "beside it, if the clip is no longer needed."
        ) from None


def _lock(file: BinaryIO, *, is_blocking: bool = False) -> bool:
    """Lock an open file until it is closed; return False if another process has locked it."""
    # Importing filelock takes tens of milliseconds: only a bucket pays for it.
    from filelock import lock_descriptor

    return lock_descriptor(file.fileno(), blocking=is_blocking)
