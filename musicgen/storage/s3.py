"""Storage in a bucket of an S3-compatible service, by way of a spool on disk."""

from __future__ import annotations

import contextvars
import copy
import logging
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from musicgen.errors import SettingsError, StorageError, UploadFailed
from musicgen.errors.counts import format_count
from musicgen.settings import BucketSettings
from musicgen.storage.base import JOB_ID, JOB_ID_ALLOWED, ClipFile, ClipName
from musicgen.storage.early_upload import EarlyUpload
from musicgen.storage.local import LocalStorage
from musicgen.storage.s3_address import ObjectAddresses
from musicgen.storage.s3_client import (
    check_credentials,
    open_client,
    send,
    translate_client_error,
)
from musicgen.storage.spool import Spool, SpoolEntry, UploadTarget

RETRY_COMMAND = "musicgen uploads retry"
TAGS_MAX = 10
"""Limit of S3 for one object."""
POLL_SECONDS = 0.1
_PLAIN_METADATA = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"

logger = logging.getLogger(__name__)


class S3Storage:
    """Storage of clips under PREFIX/JOB/clip.EXT.

    The key has no date: a job repeated after midnight replaces its own clips.
    """

    def __init__(self, bucket: BucketSettings, spool: Spool, client: Any = None) -> None:
        if bucket.name is None:
            raise SettingsError("MUSICGEN_BUCKET", "must be the name of a bucket")
        _check_tags(bucket.tags)
        self._name = bucket.name
        self._bucket = bucket
        self._spool = spool
        self._client = open_client(bucket) if client is None else client
        self._addresses = ObjectAddresses(bucket, self._client)
        self._until = math.inf
        self._cancelled: threading.Event | None = None

    def limit_to(self, until: float | None, cancelled: threading.Event | None = None) -> S3Storage:
        """Return this storage with an earlier end of uploads.

        `until`: a time of `time.monotonic`. Setting `cancelled` ends them too.
        """
        limited = copy.copy(self)
        limited._until = math.inf if until is None else until
        limited._cancelled = cancelled
        return limited

    def prepare(self, expected_bytes: int) -> None:
        """Check the spool and the credentials, without a request to the bucket.

        Credentials may be write-only. Raises: `BucketRefused`, `DiskFull`, `NotWritable`.
        """
        check_credentials(self._client, self._name)
        LocalStorage(self._spool.folder).prepare(expected_bytes)

    def put_all(self, files: Sequence[ClipFile]) -> list[str]:
        """Upload the clips of one job and return a presigned or public URL of each.

        Raises: `BucketRefused` or `UploadFailed`, with the clips left in the spool; `DiskFull` and
        `NotWritable` of the spool, before any upload.
        """
        deadline = min(self._until, time.monotonic() + self._bucket.deadline)
        uploads = [EarlyUpload(self._client, self._build_target(file)) for file in files]
        entries: list[SpoolEntry] = []
        try:
            for file, early in zip(files, uploads, strict=True):
                entries.append(self._spool.add(early.target, file.blocks, early.extend))
        except BaseException:
            for early in uploads:
                early.abandon()
            for entry in entries:
                self._spool.remove(entry)
            raise
        error = None
        try:
            for entry, early in zip(entries, uploads, strict=True):
                if error is None:
                    error = self._deliver(entry, early, deadline)
                else:
                    self._spool.release(entry)
        finally:
            # An upload waiting for more of its clip would keep the process from ending.
            for early in uploads:
                early.abandon()
        waiting = [entry.path for entry in entries if entry.path.exists()]
        if error is not None:
            raise type(error)(_add_advice(error, waiting, len(entries)))
        return [self._addresses.build(entry.target.key) for entry in entries]

    def remove(self, address: str) -> None:
        """Delete the object at an address from `put_all`. Raises: `StorageError`."""
        key = self._addresses.read_key(address)
        if not key.startswith(self._bucket.key_prefix):
            raise StorageError("the address is not that of a clip in this bucket.")
        try:
            self._client.delete_object(Bucket=self._name, Key=key)
        except Exception as error:
            raise translate_client_error(error, UploadTarget(self._name, key, "", "")) from error

    def _deliver(
        self, entry: SpoolEntry, early: EarlyUpload, deadline: float
    ) -> StorageError | None:
        """Upload a clip; or leave it in the spool and return the error, at the deadline at last.

        Cancelling does the same. A server can hold an attempt longer than that. Its thread goes on
        then, and removes the entry should the clip still arrive.
        """
        work: Future[StorageError | None] = Future()

        def run() -> None:
            try:
                work.set_result(self._upload(entry, early, deadline))
            except BaseException as error:
                work.set_exception(error)

        # In this context, so that its log lines name the same job.
        task = partial(contextvars.copy_context().run, run)
        threading.Thread(target=task, name="upload", daemon=True).start()
        if self._wait(work, deadline):
            return work.result()
        where = f"bucket {self._name!r} at {self._bucket.endpoint_url or 'AWS'}"
        logger.warning("upload not done in time, the clip stays in %s", entry.path)
        return UploadFailed(f"{where} did not take the clip in time.")

    def _wait(self, work: Future[StorageError | None], deadline: float) -> bool:
        """Return whether `work` is done, at the deadline or once the upload is cancelled."""
        while not work.done():
            left = deadline - time.monotonic()
            if left <= 0 or (self._cancelled is not None and self._cancelled.is_set()):
                return False
            # In pieces, or Cog's cancellation, an exception in this thread, would wait for the end.
            wait([work], min(left, POLL_SECONDS))
        return True

    def _upload(
        self, entry: SpoolEntry, early: EarlyUpload, deadline: float
    ) -> StorageError | None:
        try:
            if not early.finish():
                send(self._client, entry.target, lambda: entry.path.open("rb"), deadline)
        except StorageError as error:
            logger.warning("upload failed, the clip stays in %s: %s", entry.path, error)
            self._spool.release(entry)
            return error
        self._spool.remove(entry)
        return None

    def _build_target(self, file: ClipFile) -> UploadTarget:
        key = build_key(file.name)
        return UploadTarget.build(
            self._bucket,
            self._bucket.key_prefix + key,
            file.content_type,
            f'inline; filename="musicgen-{key.replace("/", "-")}"',
            {k: quote(v, safe=_PLAIN_METADATA) for k, v in file.metadata.items()},
        )


def build_key(name: ClipName) -> str:
    """Return JOB/clip.EXT, or JOB/clip-1.EXT etc. for several clips.

    Raises: `StorageError` for a job id unfit for a key.
    """
    if not JOB_ID.fullmatch(name.job_id):
        raise StorageError(
            f"the job id {name.job_id[:80]!r} cannot be part of a key. Allowed: {JOB_ID_ALLOWED}."
        )
    number = f"-{name.index + 1}" if name.count > 1 else ""
    return f"{name.job_id}/clip{number}{name.suffix}"


def _check_tags(tags: str | None) -> None:
    pairs = [part.partition("=") for part in tags.split("&")] if tags else []
    if len(pairs) > TAGS_MAX or not all(name and equals for name, equals, _ in pairs):
        problem = f"must be NAME=VALUE&NAME=VALUE, at most {TAGS_MAX} pairs"
        raise SettingsError("MUSICGEN_BUCKET_TAGS", problem, value=tags)


def _add_advice(error: StorageError, waiting: Sequence[Path], count: int) -> str:
    return (
        f"{str(error).rstrip('.')}. Nothing is lost: {len(waiting)} of "
        f"{format_count(count, 'clip')} kept in {', '.join(str(path) for path in waiting)}. Upload "
        f"with `{RETRY_COMMAND}`."
    )
