"""The way of a caller's sound into the uploads, with nothing left of a refused one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import anyio

from handlers.job_api.api.bucket_threads import run_in_bucket_thread
from handlers.job_api.api.slots import Slots
from handlers.job_api.api.sound_probe import SoundProbe
from handlers.job_api.errors import NotFound
from handlers.job_api.store import uploads
from handlers.job_api.store.database import Pool
from handlers.job_api.store.disk import check_room, hide_disk_errors
from handlers.job_api.store.files import JobFiles
from handlers.job_api.store.upload_files import UPLOAD_MAX_BYTES
from musicgen.errors import StorageError
from musicgen.settings.job_api import ApiSettings

_WORK = "another upload"


@dataclass(frozen=True)
class StoredUpload:
    """Complete upload."""

    id: str
    bytes: int
    seconds: float


class UploadIntake:
    """Receiver of sounds: a few at once, within the quota of their owner and the room on disk."""

    def __init__(self, pool: Pool, files: JobFiles, settings: ApiSettings) -> None:
        self._pool, self._stored = pool, files.uploads
        self._quota = uploads.UploadQuota.from_settings(settings)
        self._reserve = settings.disk_reserve_mb * uploads.MEGABYTE
        self._slots = Slots("uploads", total=32, per_client=8)
        self._probe = SoundProbe()

    async def store_body(
        self, owner: str, client: str, declared: int | None, chunks: AsyncIterator[bytes]
    ) -> StoredUpload:
        """Store a body and measure its sound. `declared`: its size in bytes, if known.

        Raises: `BodyTooLarge`, `InvalidInputAudio`, `TooManyUploads`, `ServerBusy`, `DiskFull`.
        """
        async with self._slots.hold(client):
            upload_id = await self._open(owner, declared)
            try:
                with hide_disk_errors(self._stored.scratch, _WORK):
                    size = await self._stored.receive(upload_id, chunks)
                    part = self._stored.get_part(upload_id)
                    seconds = await self._probe.measure(part, client)
                    await run_in_bucket_thread(self._stored.save, upload_id)
                await self._finish(upload_id, size)
            except BaseException:
                await self.discard(upload_id)
                raise
            return StoredUpload(upload_id, size, seconds)

    async def store_bytes(self, owner: str, data: bytes) -> str:
        """Store a sound from within a call, and return the id of its upload.

        Raises: `TooManyUploads`, `DiskFull`.
        """
        upload_id = await self._open(owner, len(data))
        try:
            with hide_disk_errors(self._stored.scratch, _WORK):
                await asyncio.to_thread(self._stored.write, upload_id, data)
                await run_in_bucket_thread(self._stored.save, upload_id)
            await self._finish(upload_id, len(data), is_inline=True)
        except BaseException:
            await self.discard(upload_id)
            raise
        return upload_id

    async def discard(self, upload_id: str) -> None:
        """Delete an upload that no job uses."""
        # The reason may be a cancellation. Maintenance deletes what stays here.
        with anyio.CancelScope(shield=True), suppress(StorageError):
            await run_in_bucket_thread(self._stored.delete, upload_id)
        await uploads.delete_row(self._pool, upload_id)

    async def _finish(self, upload_id: str, size: int, *, is_inline: bool = False) -> None:
        if not await uploads.finish(self._pool, upload_id, size, is_inline=is_inline):
            raise NotFound("The upload was deleted while it was stored. Send it again.")

    async def _open(self, owner: str, size: int | None) -> str:
        """Reserve room for an upload of `size` bytes, None if unknown, and return its id."""
        upload_id = self._stored.new_id(owner)
        scratch = self._stored.scratch
        with hide_disk_errors(scratch, _WORK):
            scratch.mkdir(parents=True, exist_ok=True)
            check_room(scratch, size or 0, self._reserve, _WORK)
        reserved = UPLOAD_MAX_BYTES if size is None else size
        await uploads.reserve(self._pool, upload_id, owner, reserved, self._quota)
        return upload_id
