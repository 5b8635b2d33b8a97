"""Copies of live audio from the bucket, one for all listeners of a clip in this process.

A copy takes every segment as soon as it is announced, also if a listener is slow: the segments go
soon after the end of the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from tempfile import TemporaryFile
from typing import Any

from handlers.job_api.api.bucket_threads import run_in_bucket_thread
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.disk import hide_disk_errors
from handlers.job_api.store.jobs import build_run_name
from handlers.job_api.store.live_audio import BucketLive
from handlers.job_api.store.notifications import JobNotifications
from musicgen.disk_errors import find_temporary_folder
from musicgen.errors import BucketUnavailable

CHECK_SECONDS = 5.0
"""Pause between two looks at the job's row if no notification comes."""
BLOCK_BYTES = 2**16
_WORK = "live audio"


class LiveCopies:
    """Copies of the live audio that somebody listens to."""

    def __init__(self, pool: Pool, notifications: JobNotifications) -> None:
        self._pool = pool
        self._notifications = notifications
        self._copies: dict[tuple[str, int], _LiveCopy] = {}
        self.draining = False

    async def listen(
        self, live: BucketLive, job_id: str, queue_id: int, number: int
    ) -> AsyncIterator[bytes]:
        """Yield the live audio of clip `number` (from 1) of a run, from its beginning to its end.

        Raises: `StorageError` if the bucket fails or the disk for temporary files is full; the
        listener then gets an incomplete answer.
        """
        key = (build_run_name(job_id, queue_id), number)
        copy = self._copies.get(key)
        if copy is None:
            copy = self._copies[key] = _LiveCopy()
            copy.task = asyncio.create_task(self._fill(copy, live, job_id, queue_id, number))
        copy.listeners += 1
        try:
            async for block in copy.read():
                yield block
        finally:
            copy.listeners -= 1
            if not copy.listeners:
                self._copies.pop(key, None)
                await copy.close()

    async def _fill(
        self, copy: _LiveCopy, live: BucketLive, job_id: str, queue_id: int, number: int
    ) -> None:
        """Append each new segment to a copy until the run has ended."""
        run_name, segment = build_run_name(job_id, queue_id), 0
        try:
            with self._notifications.subscribe(job_id) as changed:
                while not self.draining:
                    # Cleared before the look: a later change sets it again.
                    changed.clear()
                    row = await self._read_row(job_id, queue_id)
                    for index in range(segment, _count_segments(row, number)):
                        data = await run_in_bucket_thread(live.read, run_name, number, index)
                        await copy.append(data)
                        segment = index + 1
                    if row is None or row["state"] != "running":
                        return
                    if not row["streams"]:
                        raise BucketUnavailable("the live audio ended early.", is_for_callers=True)
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(changed.wait(), CHECK_SECONDS)
        except Exception as error:
            copy.error = error
        finally:
            await copy.end()

    async def _read_row(self, job_id: str, queue_id: int) -> dict[str, Any] | None:
        rows = await query(
            self._pool,
            "SELECT state, streams, live_segments FROM musicgen_jobs "
            "WHERE id = %s AND queue_id = %s",
            *(job_id, queue_id),
        )
        return rows[0] if rows else None


class _LiveCopy:
    """Growing temporary file, read by any number of listeners.

    Raises: `DiskFull`, `NotWritable`.
    """

    def __init__(self) -> None:
        self._folder = find_temporary_folder()
        with hide_disk_errors(self._folder, _WORK):
            # Without a buffer: readers see at once what was written. `close` closes it.
            self._file = TemporaryFile(prefix="musicgen-live-", buffering=0)  # noqa: SIM115
        self._size = 0
        self._has_ended = False
        self._changed = asyncio.Condition()
        self.listeners = 0
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None

    async def append(self, data: bytes) -> None:
        """Append `data`. Raises: `DiskFull`, `NotWritable`."""
        with hide_disk_errors(self._folder, _WORK):
            await asyncio.to_thread(_write_all, self._file.fileno(), data, self._size)
        async with self._changed:
            self._size += len(data)
            self._changed.notify_all()

    async def end(self) -> None:
        async with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    async def read(self) -> AsyncIterator[bytes]:
        position = 0
        while True:
            async with self._changed:
                while position == self._size and not self._has_ended:
                    await self._changed.wait()
            if position < self._size:
                # Not beyond the size: a segment may be on its way into the file.
                count = min(BLOCK_BYTES, self._size - position)
                block = await asyncio.to_thread(os.pread, self._file.fileno(), count, position)
                position += len(block)
                yield block
            elif self.error is not None:
                raise self.error
            else:
                return

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
        self._file.close()


def _write_all(descriptor: int, data: bytes, position: int) -> None:
    """Write `data` whole: a disk that is almost full takes a part of it without an error."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], position + done)


def _count_segments(row: dict[str, Any] | None, number: int) -> int:
    counts: list[int] = [] if row is None else row["live_segments"]
    return counts[number - 1] if number <= len(counts) else 0
