"""Live audio of running jobs, from the worker to the API: in a folder, or in the bucket.

FOLDER/JOB-RUN-1                   live audio of clip 1 of a run, growing
PREFIX/live/JOB-RUN/1/00000        first segment of the same clip in the bucket
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from handlers.job_api.store import jobs
from handlers.job_api.store.database import Pool
from musicgen.errors import StorageError
from musicgen.storage.objects import BucketObjects

SEGMENT_SECONDS = 0.5
"""Shortest time between two segments of a clip."""
KEPT_SECONDS = 60.0
"""Time of the segments in the bucket after the end of a run, for an API that is behind."""
ABANDONED_SECONDS = 600.0
SEGMENT_TYPE = "application/octet-stream"

logger = logging.getLogger(__name__)


class LiveWriter(Protocol):
    """Destination of the live audio of one run."""

    @property
    def has_audio(self) -> bool:
        """Whether callers can hear something by now."""

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Append a piece to each clip; a piece may be empty."""

    async def finish(self) -> None:
        """Make everything written available."""


class LiveStorage(Protocol):
    """Storage of live audio, as workers use it."""

    def open(
        self, pool: Pool, run: jobs.WorkerRun, count: int
    ) -> AbstractAsyncContextManager[LiveWriter]:
        """Return a context with the writer of a run with `count` clips."""


class FolderLive:
    """Live audio in growing files. A reader with an open file can read it to its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_path(self, run_name: str, number: int) -> Path:
        """Return the path of a clip's live audio; `number` counts from 1."""
        return self._folder / f"{run_name}-{number}"

    @asynccontextmanager
    async def open(self, _pool: Pool, run: jobs.WorkerRun, count: int) -> AsyncIterator[LiveWriter]:
        """Open a file for each clip; they are deleted at the end."""
        self._folder.mkdir(parents=True, exist_ok=True)
        paths = [self.get_path(run.name, number + 1) for number in range(count)]
        try:
            with ExitStack() as stack:
                yield _FolderWriter([stack.enter_context(path.open("wb")) for path in paths])
        finally:
            for path in paths:
                path.unlink(missing_ok=True)


class _FolderWriter:
    def __init__(self, files: Sequence[BinaryIO]) -> None:
        self._files = files
        self.has_audio = False

    async def write(self, pieces: Sequence[bytes]) -> None:
        for file, piece in zip(self._files, pieces, strict=False):
            if piece:
                file.write(piece)
                file.flush()
                self.has_audio = True

    async def finish(self) -> None:
        """Do nothing: each write is available at once."""


class BucketLive:
    """Live audio in the bucket, as numbered segments; their number is in the job's row."""

    def __init__(self, objects: BucketObjects, kept_seconds: float = KEPT_SECONDS) -> None:
        self._objects = objects
        self._kept_seconds = kept_seconds
        self._removals: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self, pool: Pool, run: jobs.WorkerRun, count: int) -> AsyncIterator[LiveWriter]:
        """Open a writer; the segments are deleted some time after the end."""
        writer = _BucketWriter(self, pool, run, count)
        try:
            yield writer
        finally:
            await writer.stop()
            if writer.has_segments:
                task = asyncio.create_task(self._remove(run.name), name="removal of live audio")
                self._removals.add(task)
                task.add_done_callback(self._removals.discard)

    def put(self, run_name: str, number: int, segment: int, data: bytes) -> None:
        """Store a segment; `number` counts from 1, `segment` from 0. Blocks."""
        self._objects.put(self._key(run_name, number, segment), data, SEGMENT_TYPE)

    def read(self, run_name: str, number: int, segment: int) -> bytes:
        """Return a segment. Blocks. Raises: `ObjectMissing`, `BucketUnavailable`."""
        with contextlib.closing(self._objects.open(self._key(run_name, number, segment))) as stream:
            return b"".join(iter(stream.read, b""))

    def delete_abandoned(self, running: Collection[str]) -> None:
        """Delete old segments of runs other than the `running` ones. Blocks."""
        self._objects.delete_old(f"{self._objects.prefix}live/", ABANDONED_SECONDS, running)

    def delete_job(self, job_id: str) -> None:
        """Delete the segments of all runs of a job. Blocks. Raises: the errors of `read`."""
        self._objects.delete_all(f"{self._objects.prefix}live/{job_id}-")

    def _key(self, run_name: str, number: int, segment: int) -> str:
        return f"{self._objects.prefix}live/{run_name}/{number}/{segment:05d}"

    async def _remove(self, run_name: str) -> None:
        # If this worker ends earlier, maintenance removes them.
        await asyncio.sleep(self._kept_seconds)
        try:
            prefix = f"{self._objects.prefix}live/{run_name}/"
            await asyncio.to_thread(self._objects.delete_all, prefix)
        except StorageError as error:
            logger.warning("Live audio of %s stays for the maintenance: %s", run_name, error)


class _BucketWriter:
    """Writer of one run: sends what has gathered, one flush at a time, and never waits for it."""

    def __init__(self, live: BucketLive, pool: Pool, run: jobs.WorkerRun, count: int) -> None:
        self._live = live
        self._pool = pool
        self._run = run
        self._buffers = [bytearray() for _ in range(count)]
        self._counts = [0] * count
        self._announced = False
        self._has_sent = False
        self._has_failed = False
        self._next = 0.0
        self._flush: asyncio.Task[None] | None = None

    @property
    def has_audio(self) -> bool:
        return self._announced and not self._has_failed

    @property
    def has_segments(self) -> bool:
        """Whether the bucket has segments of this run."""
        return self._has_sent

    async def write(self, pieces: Sequence[bytes]) -> None:
        if self._has_failed:
            return
        for buffer, piece in zip(self._buffers, pieces, strict=False):
            buffer += piece
        is_idle = self._flush is None or self._flush.done()
        if any(self._buffers) and is_idle and time.monotonic() >= self._next:
            self._next = time.monotonic() + SEGMENT_SECONDS
            self._flush = asyncio.create_task(self._send(), name="live audio")

    async def finish(self) -> None:
        if self._flush is not None:
            await self._flush
        if any(self._buffers) and not self._has_failed:
            await self._send()

    async def stop(self) -> None:
        """End a flush in progress."""
        if self._flush is not None:
            self._flush.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flush

    async def _send(self) -> None:
        """Store the gathered audio, then announce it in the job's row."""
        pieces = [bytes(buffer) for buffer in self._buffers]
        for buffer in self._buffers:
            buffer.clear()
        self._has_sent = True
        try:
            await asyncio.gather(*self._put_all(pieces))
            self._counts = [n + bool(piece) for n, piece in zip(self._counts, pieces, strict=True)]
            await jobs.announce_live(self._pool, self._run, self._counts)
            self._announced = True
        except Exception as error:
            # The clip itself does not need the live audio.
            logger.warning("Live audio of job %s ends early: %r", self._run.id, error)
            self._has_failed = True
            with contextlib.suppress(Exception):
                await jobs.withdraw_live(self._pool, self._run)

    def _put_all(self, pieces: Sequence[bytes]) -> Iterator[Awaitable[None]]:
        for index, piece in enumerate(pieces):
            if piece:
                number, segment = index + 1, self._counts[index]
                yield asyncio.to_thread(self._live.put, self._run.name, number, segment, piece)
