"""Storage in a bucket of a caller's own, for one job.

Its clips never enter the spool. Their files have no name in any folder, so the system frees them
when the job or the process ends, even if it is killed. Nothing is sent again later.
"""

from __future__ import annotations

import io
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from musicgen.disk_errors import translate_disk_errors
from musicgen.errors import BucketRefused, InvalidRequest, StorageError
from musicgen.net.pinned import AddressRefused, PinnedConnections
from musicgen.settings import BucketSettings
from musicgen.storage.base import ClipFile
from musicgen.storage.callers_client import open_callers_client
from musicgen.storage.local import LocalStorage
from musicgen.storage.s3 import S3Storage
from musicgen.storage.s3_client import read_code, send
from musicgen.storage.spool import Spool, UploadTarget

REFUSAL = (
    "s3Config: the clips could not be stored in this bucket and were deleted. endpointUrl must be "
    "an https URL with a public address, answer in time and not redirect; bucketName, accessId and "
    "accessSecret must allow s3:PutObject and not have expired. Correct them and send the job "
    "again."
)
"""The one text of all refusals: it must not tell a caller what the operator's network holds."""
_PORTS = {"http": 80, "https": 443}

logger = logging.getLogger(__name__)


class CallersBucket(S3Storage):
    """Bucket of a caller, for one job. `networks`: private networks allowed besides public ones.

    Raises: `InvalidRequest` for a malformed endpoint.
    """

    def __init__(self, bucket: BucketSettings, spool: Spool, networks: Sequence[str] = ()) -> None:
        self._connections = PinnedConnections(networks)
        try:
            client = open_callers_client(bucket, self._connections)
        except ValueError:
            raise InvalidRequest("s3Config.endpointUrl", "is not a URL") from None
        super().__init__(bucket, spool, client)

    def prepare(self, expected_bytes: int) -> None:
        """Check the endpoint's address and the disk, without a request.

        Raises: `BucketRefused`, `DiskFull`, `NotWritable`.
        """
        url = urlsplit(self._client.meta.endpoint_url)
        is_encrypted = url.scheme == "https"
        port = url.port or _PORTS[url.scheme]
        try:
            self._connections.resolve(url.hostname or "", port, is_encrypted=is_encrypted)
        except AddressRefused as error:
            raise _refuse(error) from None
        LocalStorage(self._spool.folder).prepare(expected_bytes)

    def put_all(self, files: Sequence[ClipFile]) -> list[str]:
        """Upload the clips of one job and return a presigned URL of each.

        Raises: `BucketRefused` with one text for every cause; `DiskFull`, `NotWritable`.
        """
        deadline = min(self._until, time.monotonic() + self._bucket.deadline)
        with ExitStack() as opened:
            clips: list[tuple[UploadTarget, BinaryIO]] = []
            for file in files:
                clip = opened.enter_context(self._open_file())
                self._write(file, clip)
                clips.append((self._build_target(file), clip))
            opened.callback(self._client.close)
            seconds, cancelled = deadline - time.monotonic(), self._cancelled
            opened.enter_context(self._connections.limit_time(seconds, cancelled))
            for target, clip in clips:
                view = partial(_FileView, clip.fileno())
                try:
                    send(self._client, target, view, deadline, cancelled)
                except StorageError as error:
                    raise _refuse(error.__cause__ or error) from None
        return [self._addresses.build(target.key) for target, _ in clips]

    def _open_file(self) -> BinaryIO:
        """Open a file without a name, in the folder of the spool."""
        with translate_disk_errors(self._spool.folder):
            self._spool.folder.mkdir(parents=True, exist_ok=True)
            return cast(BinaryIO, tempfile.TemporaryFile(dir=self._spool.folder))

    def _write(self, file: ClipFile, clip: BinaryIO) -> None:
        for block in file.blocks:
            with translate_disk_errors(self._spool.folder):
                clip.write(block)
        with translate_disk_errors(self._spool.folder):
            clip.flush()


class _FileView(io.RawIOBase):
    """Readable view of an open file, with its own position; closing it leaves the file open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        """Return True, as `io` asks."""
        return True

    def seekable(self) -> bool:
        """Return True, as `io` asks."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it."""
        base = (0, self._position, os.fstat(self._descriptor).st_size)[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer at the end."""
        if size < 0:
            size = max(0, os.fstat(self._descriptor).st_size - self._position)
        data = os.pread(self._descriptor, size, self._position)
        self._position += len(data)
        return data


def _refuse(cause: BaseException) -> BucketRefused:
    """Return the caller's error; log the cause for the operator."""
    logger.warning("the bucket of a job's s3Config was not used: %s", read_code(cause))
    return BucketRefused(REFUSAL, is_for_callers=True)
