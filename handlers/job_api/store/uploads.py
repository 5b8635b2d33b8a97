"""Uploads of callers, for the field input_audio as "upload:ID"."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers.job_api.errors import BodyTooLarge
from handlers.job_api.store.upload_storage import UploadStorage
from musicgen.errors import InvalidInputAudio

UPLOAD = "upload:"
UPLOAD_MAX_BYTES = 100_000_000


@dataclass(frozen=True)
class ReceivedUpload:
    """Complete upload in a temporary file of this machine."""

    id: str
    path: Path
    size: int


class Uploads:
    """Uploads in `storage`, received through temporary files in `scratch`."""

    def __init__(self, storage: UploadStorage, scratch: Path) -> None:
        self.storage = storage
        self._scratch = scratch

    @asynccontextmanager
    async def receive(
        self, owner: str, chunks: AsyncIterator[bytes]
    ) -> AsyncIterator[ReceivedUpload]:
        """Write a body to a temporary file, deleted on leaving the context.

        `save` keeps it. Raises: `BodyTooLarge`, `InvalidInputAudio` for an empty body.
        """
        upload_id = _build_id(owner)
        path = self._scratch / f".{upload_id}.tmp"
        self._scratch.mkdir(parents=True, exist_ok=True)
        size = 0
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > UPLOAD_MAX_BYTES:
                        limit = f"{UPLOAD_MAX_BYTES / 1e6:g} MB"
                        raise BodyTooLarge(f"The audio file is larger than {limit}, the limit.")
                    file.write(chunk)
            if not size:
                raise InvalidInputAudio("body", "must be the audio file itself, but is empty")
            yield ReceivedUpload(upload_id, path, size)
        finally:
            path.unlink(missing_ok=True)

    def save(self, received: ReceivedUpload) -> None:
        """Store a received upload. Blocks. Raises: the errors of the storage."""
        self.storage.save(received.id, received.path)

    def save_file(self, owner: str, path: Path) -> str:
        """Move a file to the uploads of `owner`, and return the upload's id. Blocks.

        Raises: the errors of the storage.
        """
        upload_id = _build_id(owner)
        self.storage.save(upload_id, path)
        return upload_id

    def check(self, owner: str, value: str) -> None:
        """Check that "upload:ID" exists and belongs to `owner`. Blocks.

        Raises: `InvalidInputAudio`, the errors of the storage.
        """
        upload_id = _read_id(owner, value)
        if upload_id is None or not self.storage.exists(upload_id):
            raise _build_error(value)

    @contextmanager
    def open_request(self, owner: str, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield `fields` with "upload:ID" replaced by a local file. Blocks.

        Raises: `InvalidInputAudio`, the errors of the storage.
        """
        value = fields.get("input_audio")
        if not isinstance(value, str) or not value.startswith(UPLOAD):
            yield dict(fields)
            return
        upload_id = _read_id(owner, value)
        if upload_id is None:
            raise _build_error(value)
        with self.storage.open(upload_id) as path:
            if path is None:
                raise _build_error(value)
            yield {**fields, "input_audio": path}


def _read_id(owner: str, value: str) -> str | None:
    """Return the id of "upload:ID", or None if it is not one of `owner`."""
    upload_id = value.removeprefix(UPLOAD)
    is_own = upload_id.startswith(_hash_owner(owner)) and upload_id.isalnum()
    return upload_id if is_own else None


def _build_error(value: str) -> InvalidInputAudio:
    return InvalidInputAudio(
        "input_audio", "is not one of your uploads", value=value, advice="Upload the file again."
    )


def _build_id(owner: str) -> str:
    return _hash_owner(owner) + secrets.token_hex(16)


def _hash_owner(owner: str) -> str:
    """Return the owner's part of an upload id, without revealing the prefix of the key.

    It keeps callers from using uploads of others.
    """
    return hashlib.sha256(f"upload {owner}".encode()).hexdigest()[:12]
