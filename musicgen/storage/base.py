"""Where clips go: the contract that every storage keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class ClipName:
    """Which clip of which job: `index` from 0 of `count`, `extension` without a dot."""

    job_id: str
    index: int
    count: int
    extension: str


class Storage(Protocol):
    """Keeps whole files: another reader sees a clip complete or not at all."""

    def prepare(self, expected_bytes: int) -> None:
        """Called before anything is generated, so that a full or read-only target is refused
        before time on an accelerator is spent.

        Raises: `DiskFull`, `NotWritable`, or another `StorageError`.
        """

    def put(self, name: ClipName, data: bytes, content_type: str) -> str:
        """Stores `data` (a whole file of MIME type `content_type`); the same name replaces.

        Returns: the address at which the caller finds the clip.
        Raises: `DiskFull`, `NotWritable`, or another `StorageError`; nothing is left behind.
        """

    def remove(self, address: str) -> None:
        """Forgets a clip that `put` stored; one that is gone already is no error.

        Raises: `StorageError`.
        """
