"""Where clips go: the contract that every storage keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from musicgen.errors import StorageError

JOB_ID = re.compile(r"(?!\.+$)[\w.=~+@:-]{1,200}", re.ASCII)
JOB_ID_ALLOWED = "letters, digits and . _ - = ~ + @ : only, at most 200, and not dots alone"


@dataclass(frozen=True)
class ClipName:
    """Which clip of which job: `index` from 0 of `count`, `extension` without a dot."""

    job_id: str
    index: int
    count: int
    extension: str


@dataclass(frozen=True)
class ClipFile:
    """A clip to store: a whole file of MIME type `content_type`.

    `blocks` are its bytes in order, pulled once; what pulling raises passes through. `metadata`
    describes the clip to those who find it without its request.
    """

    name: ClipName
    blocks: Iterable[bytes]
    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)


class Storage(Protocol):
    """Keeps whole files: another reader sees a clip complete or not at all."""

    def prepare(self, expected_bytes: int) -> None:
        """Called before anything is generated, so that a full or read-only target is refused
        before time on an accelerator is spent.

        Raises: `DiskFull`, `NotWritable`, or another `StorageError`.
        """

    def put_all(self, files: Sequence[ClipFile]) -> list[str]:
        """Stores the clips of one job; a name that is there already is replaced.

        Returns: the address at which the caller finds each clip.
        Raises: `DiskFull`, `NotWritable`, or another `StorageError`; then none is stored, but for
        what the error says is kept for another attempt.
        """

    def remove(self, address: str) -> None:
        """Forgets a clip that was stored; one that is gone already is no error.

        Raises: `StorageError`.
        """


class OneByOne(Protocol):
    """A storage that takes one clip at a time."""

    def put(
        self,
        name: ClipName,
        blocks: Iterable[bytes],
        content_type: str,
        metadata: Mapping[str, str],
    ) -> str: ...

    def remove(self, address: str) -> None: ...


def put_all_or_none(storage: OneByOne, files: Sequence[ClipFile]) -> list[str]:
    """Puts one clip after the other; after an error the ones before it are removed again."""
    addresses: list[str] = []
    try:
        for each in files:
            address = storage.put(each.name, each.blocks, each.content_type, each.metadata)
            addresses.append(address)
    except StorageError:
        for address in addresses:
            storage.remove(address)
        raise
    return addresses
