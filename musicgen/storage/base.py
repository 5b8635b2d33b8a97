"""Contract of every storage of clips."""

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
    """Clip `index` (from 0) of `count` of a job; `extension` has no dot.

    `part`: name of a stem of the clip, empty for the clip itself.
    """

    job_id: str
    index: int
    count: int
    extension: str
    part: str = ""

    @property
    def suffix(self) -> str:
        """End of the file's name: the part and the extension."""
        return f"{self.part and f'-{self.part}'}.{self.extension}"


@dataclass(frozen=True)
class ClipFile:
    """Clip to store: a complete file of MIME type `content_type`.

    `blocks`: its bytes in order, read once; their errors pass through. `metadata`: description of
    the clip for readers without its request.
    """

    name: ClipName
    blocks: Iterable[bytes]
    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)


class Storage(Protocol):
    """Store of complete files: another reader sees a clip complete or not at all."""

    def prepare(self, expected_bytes: int) -> None:
        """Check the target before any generation, to spare time on the accelerator.

        Raises: `DiskFull`, `NotWritable`, or another `StorageError`.
        """

    def put_all(self, files: Sequence[ClipFile]) -> list[str]:
        """Store the clips of one job and return the address of each; replace older clips.

        Raises: `DiskFull`, `NotWritable`, or another `StorageError`; then no clip is stored,
        except for clips kept for another attempt, as the error says.
        """

    def remove(self, address: str) -> None:
        """Delete a stored clip; a missing clip is no error.

        Raises: `StorageError`.
        """


class SingleClipStorage(Protocol):
    """Storage with one call for each clip."""

    def put(
        self,
        name: ClipName,
        blocks: Iterable[bytes],
        content_type: str,
        metadata: Mapping[str, str],
    ) -> str:
        """Store a clip and return its address. Raises: `StorageError`."""

    def remove(self, address: str) -> None:
        """Delete a stored clip. Raises: `StorageError`."""


def put_all_or_none(storage: SingleClipStorage, files: Sequence[ClipFile]) -> list[str]:
    """Store clips one after the other and return their addresses; remove all after an error."""
    addresses: list[str] = []
    try:
        for clip in files:
            address = storage.put(clip.name, clip.blocks, clip.content_type, clip.metadata)
            addresses.append(address)
    except StorageError:
        for address in addresses:
            storage.remove(address)
        raise
    return addresses
