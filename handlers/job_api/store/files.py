"""Files of jobs in the data folder, shared by the API and its workers.

clips/JOB-RUN/1.wav      finished clips of a run, beside them their conversions to other formats
growing/JOB-RUN-1        live audio of a clip, written while the clip is made
uploads/ID               uploads of callers
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from handlers.job_api.errors import BodyTooLarge, NotFound
from handlers.job_api.store.jobs import WorkerRun
from musicgen.audio.decode import read_audio
from musicgen.audio.encode import encode
from musicgen.audio.tags import AudioTags, read_tags
from musicgen.errors import InvalidInputAudio
from musicgen.request import AudioFormat
from musicgen.storage.base import ClipName
from musicgen.storage.local import LocalStorage, write_atomically

UPLOAD = "upload:"
UPLOAD_MAX_BYTES = 100_000_000
CLIP_DELETED = "The clip has been deleted; its retention time is over."
_WRITE_BYTES = 2**19
_ABANDONED_SECONDS = 24 * 3600.0


def build_clip_key(name: ClipName) -> str:
    """Return the path of a clip below the clips folder, counted from 1."""
    return f"{name.job_id}/{name.index + 1}.{name.extension}"


class BucketStorage(Protocol):
    """Bucket with the clips of completed jobs."""

    def renew_address(self, address: str) -> str:
        """Return a newly signed address of a clip."""
        ...

    def remove(self, address: str) -> None:
        """Delete a clip."""
        ...


class JobFiles:
    """Clips, live audio and uploads in `folder`, created on first use."""

    def __init__(self, folder: Path, bucket: BucketStorage | None = None) -> None:
        self.folder = folder
        self._bucket = bucket
        self._clips, self._live = folder / "clips", folder / "growing"
        self.uploads = folder / "uploads"

    @property
    def storage(self) -> LocalStorage:
        """Storage for the clips of workers without a bucket."""
        return LocalStorage(self._clips, build_clip_key)

    def get_clip_path(self, run_name: str, number: int, extension: str) -> Path:
        """Return the path of a finished clip; `number` counts from 1."""
        return self._clips / run_name / f"{number}.{extension}"

    def get_live_path(self, run_name: str, number: int) -> Path:
        """Return the path of a clip's live audio; `number` counts from 1."""
        return self._live / f"{run_name}-{number}"

    @contextmanager
    def open_live_files(self, run: WorkerRun) -> Iterator[dict[int, BinaryIO]]:
        """Open a file for the live audio of each clip, by clip index from 0.

        The files are deleted at the end. A reader with an open file can still read it to its end.
        """
        self._live.mkdir(parents=True, exist_ok=True)
        count = count_clips(run.request)
        paths = [self.get_live_path(run.name, number + 1) for number in range(count)]
        try:
            with ExitStack() as stack:
                yield {
                    index: stack.enter_context(path.open("wb")) for index, path in enumerate(paths)
                }
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    def discard(self, run: WorkerRun, addresses: Iterable[str] = ()) -> None:
        """Delete the clips of a run without a completed job, in the bucket those at `addresses`."""
        shutil.rmtree(self._clips / run.name, ignore_errors=True)
        if self._bucket is not None:
            for address in addresses:
                self._bucket.remove(address)

    def renew_address(self, address: str) -> str:
        """Return a valid address of a clip in the bucket; signed addresses expire."""
        return address if self._bucket is None else self._bucket.renew_address(address)

    def delete_abandoned(self) -> None:
        """Delete live audio of killed workers, a day after its last write."""
        for path in self._live.glob("*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink(missing_ok=True)

    def new_upload_id(self, owner: str) -> str:
        """Return the id of a new upload of `owner`."""
        return _hash_owner(owner) + secrets.token_hex(16)

    async def save_upload(self, upload_id: str, chunks: AsyncIterator[bytes]) -> int:
        """Write a body to a new upload, and return its size in bytes.

        Raises: `BodyTooLarge`, `InvalidInputAudio` for an empty body.
        """
        temporary = self.uploads / f".{upload_id}.tmp"
        size, block = 0, bytearray()
        try:
            with temporary.open("wb") as file:
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
                raise InvalidInputAudio("body", "must be the audio file itself, but is empty")
            temporary.replace(self.uploads / upload_id)
        finally:
            temporary.unlink(missing_ok=True)
        return size

    def write_upload(self, upload_id: str, data: bytes) -> None:
        """Write a new upload. Raises: OSError."""
        write_atomically(self.uploads / upload_id, [data])

    def delete_abandoned_uploads(self, known: set[str], part_age: float, age: float) -> None:
        """Delete parts of uploads, and uploads not in `known`, some seconds after their last write.

        `part_age`: for parts, which killed processes left. `age`: for uploads.
        """
        for path in self.uploads.glob("*"):
            limit = part_age if path.name.startswith(".") else age
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > limit and path.name not in known:
                    path.unlink()

    def delete_upload(self, upload_id: str) -> None:
        """Delete an upload if it exists."""
        (self.uploads / upload_id).unlink(missing_ok=True)

    def find_upload(self, owner: str, value: str) -> Path:
        """Return the file of "upload:ID".

        Raises: `InvalidInputAudio` if it does not exist or belongs to another caller.
        """
        upload_id = value.removeprefix(UPLOAD)
        path = self.uploads / upload_id
        is_own = upload_id.startswith(_hash_owner(owner)) and upload_id.isalnum()
        if not is_own or not path.is_file():
            advice = "Upload the file again."
            raise InvalidInputAudio(
                "input_audio", "is not one of your uploads", value=value, advice=advice
            )
        return path

    def resolve_upload(self, owner: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return `fields` with "upload:ID" replaced by the path of the upload.

        Raises: `InvalidInputAudio`.
        """
        value = fields.get("input_audio")
        if isinstance(value, str) and value.startswith(UPLOAD):
            return {**fields, "input_audio": self.find_upload(owner, value)}
        return dict(fields)

    def convert_clip(self, source: Path, extension: str) -> Path:
        """Convert a clip to another format, unless this was done before, and return the new file.

        Takes seconds for a long clip, so it needs a thread.

        Raises: `NotFound` if the clip was deleted.
        """
        target = source.with_suffix(f".{extension}")
        if target.exists():
            return target
        if not source.exists():
            raise NotFound(CLIP_DELETED)
        pcm, rate = read_audio(source)
        tags = read_tags(source) or AudioTags("", 0, "", "", "")
        write_atomically(target, [encode(pcm, AudioFormat(extension, sample_rate=rate), tags)])
        return target


def count_clips(fields: Mapping[str, Any]) -> int:
    """Return the number of clips of a validated request."""
    return len(fields.get("prompts") or [""]) * int(fields.get("variations") or 1)


def _write_last(file: BinaryIO, block: bytearray) -> None:
    file.write(block)
    file.flush()
    # Without it a power cut can leave the new name on a file without its bytes.
    os.fsync(file.fileno())


def _hash_owner(owner: str) -> str:
    """Return the owner's part of an upload id, without revealing the prefix of the key.

    It keeps callers from using uploads of others.
    """
    return hashlib.sha256(f"upload {owner}".encode()).hexdigest()[:12]
