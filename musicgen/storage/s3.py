"""Clips in a bucket of any service that speaks S3: on disk first, then there, then off the disk."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from musicgen.errors import BucketRefused, SettingsError, StorageError, UploadFailed
from musicgen.settings import BucketSettings
from musicgen.storage.base import JOB_ID, JOB_ID_ALLOWED, ClipFile, ClipName
from musicgen.storage.local import LocalStorage
from musicgen.storage.s3_client import (
    MULTIPART_BYTES,
    explained_failure,
    has_credentials,
    open_client,
    send,
    upload_once,
)
from musicgen.storage.spool import Spool, SpoolEntry, Upload

RETRY_COMMAND = "musicgen uploads retry"
TAGS_MAX = 10
"""S3 keeps no more for one object."""
_PLAIN_METADATA = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"

logger = logging.getLogger(__name__)


class S3Storage:
    """The clips of a job under PREFIX/JOB/clip.EXT: no date, so a job done twice, also past
    midnight, replaces its own clips."""

    def __init__(self, bucket: BucketSettings, spool: Spool) -> None:
        if bucket.name is None:
            raise SettingsError("MUSICGEN_BUCKET", "must be the name of a bucket")
        _check_tags(bucket.tags)
        self._name = bucket.name
        self._bucket = bucket
        self._spool = spool
        self._client = open_client(bucket)

    def prepare(self, expected_bytes: int) -> None:
        """Looks at the spool and for credentials; the bucket is not asked, because credentials
        that may only write are enough.

        Raises: `BucketRefused`, `DiskFull`, `NotWritable`.
        """
        if not has_credentials(self._client):
            raise BucketRefused(
                f"no credentials for bucket {self._name!r}: set MUSICGEN_BUCKET_ACCESS_KEY_ID and "
                "MUSICGEN_BUCKET_SECRET_ACCESS_KEY, or those of AWS's standard chain"
            )
        LocalStorage(self._spool.folder).prepare(expected_bytes)

    def put_all(self, files: Sequence[ClipFile]) -> list[str]:
        """Returns: a presigned URL of each, or its public one.

        Raises: `BucketRefused` or `UploadFailed`, which name the clips that wait in the spool;
        `DiskFull` and `NotWritable` of the spool, and then nothing is sent.
        """
        deadline = time.monotonic() + self._bucket.deadline
        uploads = [_EarlyUpload(self._client, self._upload(file)) for file in files]
        entries: list[SpoolEntry] = []
        try:
            for file, early in zip(files, uploads, strict=True):
                entries.append(self._spool.add(early.upload, file.blocks, early.growing))
        except BaseException:
            for early in uploads:
                early.abandon()
            for entry in entries:
                self._spool.done(entry)
            raise
        error = None
        try:
            for entry, early in zip(entries, uploads, strict=True):
                if error is None:
                    error = self._delivered(entry, early, deadline)
                else:
                    self._spool.keep(entry)
        finally:
            # One that is left waiting for more of its clip keeps the process from ever ending.
            for early in uploads:
                early.abandon()
        waiting = [entry.path for entry in entries if entry.path.exists()]
        if error is not None:
            raise type(error)(_with_advice(error, waiting, len(entries)))
        return [self._address(entry.upload.key) for entry in entries]

    def remove(self, address: str) -> None:
        """Deletes the object at an address that `put_all` gave. Raises: `StorageError`."""
        key = self._key_of(address)
        if not key.startswith(self._prefix()):
            raise StorageError("that address is not one of a clip in this bucket")
        try:
            self._client.delete_object(Bucket=self._name, Key=key)
        except Exception as error:
            raise explained_failure(error, Upload(self._name, key, "", "")) from error

    def _delivered(
        self, entry: SpoolEntry, early: _EarlyUpload, deadline: float
    ) -> StorageError | None:
        """Sends a clip, or leaves it in the spool and returns why."""
        try:
            if not early.succeeded():
                send(self._client, entry.upload, lambda: entry.path.open("rb"), deadline)
        except StorageError as error:
            logger.warning("%s is kept: %s", entry.path, error)
            self._spool.keep(entry)
            return error
        self._spool.done(entry)
        return None

    def _upload(self, file: ClipFile) -> Upload:
        bucket = self._bucket
        return Upload(
            bucket=self._name,
            key=self._prefix() + key_of(file.name),
            content_type=file.content_type,
            disposition=f'inline; filename="musicgen-{key_of(file.name).replace("/", "-")}"',
            metadata={k: quote(v, safe=_PLAIN_METADATA) for k, v in file.metadata.items()},
            endpoint_url=bucket.endpoint_url,
            region=bucket.region,
            addressing=bucket.addressing,
            encryption=bucket.encryption,
            kms_key=bucket.kms_key,
            storage_class=bucket.storage_class,
            tags=bucket.tags,
        )

    def _prefix(self) -> str:
        prefix = self._bucket.prefix.strip("/")
        return f"{prefix}/" if prefix else ""

    def fresh(self, address: str) -> str:
        """The address of a stored clip, valid from now on: a presigned one ends after a time."""
        return self._address(self._key_of(address))

    def _address(self, key: str) -> str:
        if self._bucket.public_url:
            return f"{self._bucket.public_url.rstrip('/')}/{quote(key)}"
        url: str = self._client.generate_presigned_url(
            "get_object",
            Params={"Bucket": self._name, "Key": key},
            ExpiresIn=self._bucket.url_seconds,
        )
        return url

    def _key_of(self, address: str) -> str:
        """Raises: `StorageError` for an address outside this bucket."""
        # Only the client knows whether its addresses name the bucket in the path or in the host.
        root = self._address("x").partition("?")[0].removesuffix("x")
        if not address.startswith(root):
            raise StorageError("that address is not one of a clip in this bucket")
        return unquote(address.removeprefix(root).partition("?")[0])


def key_of(name: ClipName) -> str:
    """JOB/clip.EXT, or clip-1.EXT and so on of several.

    Raises: `StorageError` for a job id that is no plain name.
    """
    if not JOB_ID.fullmatch(name.job_id):
        raise StorageError(
            f"the job id {name.job_id[:80]!r} cannot be part of a key: {JOB_ID_ALLOWED}"
        )
    number = f"-{name.index + 1}" if name.count > 1 else ""
    return f"{name.job_id}/clip{number}.{name.extension}"


def _check_tags(tags: str | None) -> None:
    pairs = [part.partition("=") for part in tags.split("&")] if tags else []
    if len(pairs) > TAGS_MAX or not all(name and equals for name, equals, _ in pairs):
        problem = f"must be NAME=VALUE&NAME=VALUE, at most {TAGS_MAX} pairs"
        raise SettingsError("MUSICGEN_BUCKET_TAGS", problem, value=tags)


def _with_advice(error: StorageError, waiting: Sequence[Path], count: int) -> str:
    return (
        f"{error}. Nothing is lost: {len(waiting)} of {count} clips wait as "
        f"{', '.join(str(path) for path in waiting)}; send them with `{RETRY_COMMAND}`"
    )


class _EarlyUpload:
    """The upload of a large clip that begins while its end is still being encoded.

    It reads the spool's file behind its writer, who never waits for it. Should it fail, the whole
    file is sent as if it had not been tried.
    """

    def __init__(self, client: Any, upload: Upload) -> None:
        self.upload = upload
        self._client = client
        self._file: _Growing | None = None
        self._result: Future[None] = Future()

    def growing(self, file: BinaryIO, size: int) -> None:
        """Told by the writer after each block."""
        if self._file is not None:
            self._file.grow(size)
        elif size > MULTIPART_BYTES:
            self._file = _Growing(Path(file.name), size)
            threading.Thread(target=self._run, args=(self._file,), daemon=True).start()

    def succeeded(self) -> bool:
        """Waits for it, now that the clip is whole; False also if it never began."""
        if self._file is None:
            return False
        self._file.end()
        return self._result.exception() is None

    def abandon(self) -> None:
        """Ends it; what it has sent is not a whole object and never becomes one."""
        if self._file is not None:
            self._file.end(broken=True)

    def _run(self, file: _Growing) -> None:
        try:
            upload_once(self._client, self.upload, file)
        except Exception as error:
            logger.info("an early upload failed, the whole clip is sent again: %r", error)
            self._result.set_exception(error)
        else:
            self._result.set_result(None)
        finally:
            file.close()


class _Growing(io.RawIOBase):
    """A file that is read while it is written: a read waits until its bytes are there."""

    def __init__(self, path: Path, size: int) -> None:
        self._file = path.open("rb")
        self._size = size
        self._ended = False
        self._broken = False
        self._changed = threading.Condition()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with self._changed:
            wanted = None if size < 0 else self._file.tell() + size
            self._changed.wait_for(
                lambda: self._ended or (wanted is not None and self._size >= wanted)
            )
            if self._broken:
                raise UploadFailed("the clip was not finished")
        return self._file.read(size)

    def grow(self, size: int) -> None:
        with self._changed:
            self._size = size
            self._changed.notify_all()

    def end(self, *, broken: bool = False) -> None:
        with self._changed:
            self._ended, self._broken = True, broken
            self._changed.notify_all()

    def close(self) -> None:
        self._file.close()
        super().close()
