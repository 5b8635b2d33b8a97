"""Files of uploads, for the field input_audio as "upload:ID"."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from handlers.job_api.errors import BodyTooLarge
from handlers.job_api.store.disk import delete_old_files
from handlers.job_api.store.upload_storage import UploadStorage
from musicgen.errors import InvalidInputAudio
from musicgen.errors.request_reasons import RequestReason
from musicgen.errors.sound_reasons import SoundReason

UPLOAD = "upload:"
UPLOAD_MAX_BYTES = 100_000_000
_WRITE_BYTES = 2**19


class UploadFiles:
    """Uploads in `storage`, received as parts: temporary files in `scratch`, on this machine."""

    def __init__(self, storage: UploadStorage, scratch: Path) -> None:
        self._storage = storage
        self.scratch = scratch

    def new_id(self, owner: str) -> str:
        """Return the id of a new upload of `owner`."""
        return _hash_owner(owner) + secrets.token_hex(16)

    def get_part(self, upload_id: str) -> Path:
        """Return the path of a part."""
        return self.scratch / f".{upload_id}.tmp"

    async def receive(self, upload_id: str, chunks: AsyncIterator[bytes]) -> int:
        """Write a body to a part, and return its size in bytes; `save` or `delete` ends the part.

        Raises: `BodyTooLarge`, `InvalidInputAudio` for an empty body, OSError.
        """
        size, block = 0, bytearray()
        with self.get_part(upload_id).open("wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > UPLOAD_MAX_BYTES:
                    limit = f"{UPLOAD_MAX_BYTES / 1e6:g} MB"
                    raise BodyTooLarge(f"The audio file is larger than {limit}, the limit.")
                block += chunk
                if len(block) >= _WRITE_BYTES:
                    # In a thread: a write waits for a disk that other uploads keep busy.
                    await asyncio.to_thread(file.write, block)
                    block = bytearray()
            await asyncio.to_thread(_write_last, file, block)
        if not size:
            raise InvalidInputAudio("body", SoundReason("empty_body"))
        return size

    def write(self, upload_id: str, data: bytes) -> None:
        """Write a part. Blocks. Raises: OSError."""
        with self.get_part(upload_id).open("wb") as file:
            _write_last(file, data)

    def save(self, upload_id: str) -> None:
        """Store a part as an upload. Blocks. Raises: the errors of the storage, OSError."""
        self._storage.save(upload_id, self.get_part(upload_id))

    def delete(self, upload_id: str) -> None:
        """Delete an upload and its part. Blocks. Raises: the errors of the storage."""
        self.get_part(upload_id).unlink(missing_ok=True)
        self._storage.delete(upload_id)

    def delete_abandoned(self, known: set[str], part_age: float, age: float) -> None:
        """Delete parts, and uploads not in `known`, some seconds after their last write. Blocks.

        `part_age`: for parts, which killed processes left. `age`: for uploads. Raises: the errors
        of the storage.
        """
        delete_old_files(self.scratch, part_age, ".*")
        self._storage.delete_unknown(known, age)

    def check(self, owner: str, value: str) -> None:
        """Check that "upload:ID" exists and belongs to `owner`. Blocks.

        Raises: `InvalidInputAudio`, the errors of the storage.
        """
        upload_id = _read_id(owner, value)
        if upload_id is None or not self._storage.exists(upload_id):
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
        with self._storage.open(upload_id) as path:
            if path is None:
                raise _build_error(value)
            yield {**fields, "input_audio": path}


def _read_id(owner: str, value: str) -> str | None:
    """Return the id of "upload:ID", or None if it is not one of `owner`."""
    upload_id = value.removeprefix(UPLOAD)
    is_own = upload_id.startswith(_hash_owner(owner)) and upload_id.isalnum()
    return upload_id if is_own else None


def _build_error(value: str) -> InvalidInputAudio:
    problem = RequestReason("not_your_upload")
    return InvalidInputAudio("input_audio", problem, value=value, advice="Upload the file again.")


def _write_last(file: BinaryIO, block: bytes | bytearray) -> None:
    file.write(block)
    file.flush()
    # Without it a power cut can leave the new name on a file without its bytes.
    os.fsync(file.fileno())


def _hash_owner(owner: str) -> str:
    """Return the owner's part of an upload id, without revealing the prefix of the key.

    It keeps callers from using uploads of others.
    """
    return hashlib.sha256(f"upload {owner}".encode()).hexdigest()[:12]
