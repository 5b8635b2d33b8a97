"""Clips on their way to a bucket: on disk first, so that nothing that was generated is lost.

An entry is two files: NAME.clip and NAME.json, which says where the clip is to go. The second is
written when the first is whole, so an entry exists only of a whole clip. Whoever writes or sends
one holds a lock on NAME.clip; the lock goes with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from musicgen.errors import StorageError
from musicgen.storage.local import explained, write_atomically

ABANDONED_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Upload:
    """Where a clip goes and what is written beside it. Holds no credentials: it lies on disk."""

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


@dataclass(frozen=True)
class SpoolEntry:
    """A whole clip in the spool; `file` is open and locked by this process."""

    upload: Upload
    path: Path
    file: BinaryIO

    @property
    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    @property
    def age(self) -> float:
        """Seconds since it was written."""
        return time.time() - os.fstat(self.file.fileno()).st_mtime


class Spool:
    """The entries in `folder`; several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        upload: Upload,
        blocks: Iterable[bytes],
        growing: Callable[[BinaryIO, int], None] = lambda _file, _size: None,
    ) -> SpoolEntry:
        """Keeps a clip; what `blocks` raise passes through and leaves nothing behind.

        `growing` is called after each block with the file and the bytes it holds.
        Raises: `DiskFull`, `NotWritable`, `StorageError`.
        """
        path = self.folder / f"{uuid4().hex}.clip"
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = path.open("xb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = 0
            for block in blocks:
                with explained(self.folder):
                    file.write(block)
                    file.flush()
                size += len(block)
                growing(file, size)
            with explained(self.folder):
                os.fsync(file.fileno())
                description = json.dumps(asdict(upload), indent=1)
                write_atomically(path.with_suffix(".json"), [description.encode()])
        except BaseException:
            path.unlink(missing_ok=True)
            file.close()
            raise
        return SpoolEntry(upload, path, file)

    def waiting(self) -> list[Path]:
        """The clips of all entries, also of those that are being sent, the oldest first."""
        times = {}
        for description in self.folder.glob("*.json"):
            # Another process may finish with one at any moment.
            with suppress(FileNotFoundError):
                path = description.with_suffix(".clip")
                times[path] = path.stat().st_mtime
        return sorted(times, key=times.__getitem__)

    def unfinished(self) -> list[Path]:
        """Clips without a description: they are being written, or their writer was killed."""
        clips = self.folder.glob("*.clip")
        return sorted(path for path in clips if not path.with_suffix(".json").exists())

    @contextmanager
    def taken(self, path: Path) -> Iterator[SpoolEntry | None]:
        """One of `waiting`, locked; None if another process has it or has just sent it.

        Raises: `StorageError` for a description that cannot be read.
        """
        try:
            file = path.open("rb")
        except FileNotFoundError:
            yield None
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                upload = Upload(**json.loads(path.with_suffix(".json").read_bytes()))
            except (BlockingIOError, FileNotFoundError):
                yield None
                return
            except (ValueError, TypeError):
                raise StorageError(f"{path.with_suffix('.json')} is no description") from None
            yield SpoolEntry(upload, path, file)

    def done(self, entry: SpoolEntry) -> None:
        """Forgets an entry: the bucket has it."""
        # The description first: a clip without one is never sent again.
        for path in (entry.path.with_suffix(".json"), entry.path):
            path.unlink(missing_ok=True)
        entry.file.close()

    def keep(self, entry: SpoolEntry) -> None:
        """Leaves an entry for whoever tries again."""
        entry.file.close()

    def sweep(self, older_than: float = ABANDONED_SECONDS) -> int:
        """Deletes what processes left that were killed while they wrote. Returns: how many."""
        swept = 0
        for path in self.folder.glob("*.clip"):
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                old = time.time() - path.stat().st_mtime > older_than
                if old and not path.with_suffix(".json").exists():
                    path.unlink()
                    swept += 1
        return swept
