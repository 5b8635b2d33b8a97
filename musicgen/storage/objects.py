"""Objects of the bucket for the job API: read in blocks, written, listed and deleted."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from musicgen.errors import (
    BucketRefused,
    BucketUnavailable,
    ObjectMissing,
    SettingsError,
    StorageError,
)
from musicgen.settings import BucketSettings
from musicgen.storage.s3_address import ObjectAddresses
from musicgen.storage.s3_client import is_transient, open_client, translate_client_error
from musicgen.storage.spool import UploadTarget

BLOCK_BYTES = 2**18
ATTEMPTS = 2
RESUMES = 3
"""Number of times a broken download continues at its last byte."""
RESUME_PAUSE_SECONDS = 0.3

logger = logging.getLogger(__name__)


class RangeOutside(StorageError):
    """The requested range is outside the object."""


@dataclass(frozen=True)
class ListedObject:
    """Object of a listing; `modified` has a time zone."""

    key: str
    modified: datetime


class BucketObjects:
    """Objects under the prefix of one bucket, for any number of threads. Every method blocks."""

    def __init__(self, bucket: BucketSettings) -> None:
        if bucket.name is None:
            raise SettingsError("MUSICGEN_BUCKET", "must be the name of a bucket")
        self._bucket, self._name = bucket, bucket.name
        self._client = open_client(bucket, ATTEMPTS, connections=64)
        self.addresses = ObjectAddresses(bucket, self._client)

    @property
    def prefix(self) -> str:
        """Beginning of every key."""
        return self._bucket.key_prefix

    def open(self, key: str, byte_range: str | None = None) -> ObjectStream:
        """Open an object, or its `byte_range`, a value of the HTTP header Range.

        Raises: `ObjectMissing`, `RangeOutside`, `BucketUnavailable`, `BucketRefused`.
        """
        return ObjectStream(lambda wanted, etag: self._get(key, wanted, etag), byte_range)

    def download(self, key: str, path: Path) -> None:
        """Write an object to a new file. Raises: the errors of `open`, OSError."""
        stream = self.open(key)
        with contextlib.closing(stream), path.open("wb") as file:
            while block := stream.read():
                file.write(block)

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store a small object. Raises: `BucketUnavailable`, `BucketRefused`."""
        with self._translate(key):
            self._client.put_object(
                Bucket=self._name,
                Key=key,
                Body=data,
                ContentType=content_type,
                **self._encryption(),
            )

    def upload(self, key: str, path: Path) -> None:
        """Store a file. Raises: `BucketUnavailable`, `BucketRefused`."""
        with self._translate(key):
            self._client.upload_file(str(path), self._name, key, ExtraArgs=self._encryption())

    def exists(self, key: str) -> bool:
        """Return whether an object exists. Raises: `BucketUnavailable`, `BucketRefused`."""
        try:
            with self._translate(key):
                self._client.head_object(Bucket=self._name, Key=key)
        except ObjectMissing:
            return False
        return True

    def delete(self, key: str) -> None:
        """Delete an object; a missing one is no error.

        Raises: `BucketUnavailable`, `BucketRefused`.
        """
        with self._translate(key), contextlib.suppress(ObjectMissing):
            self._client.delete_object(Bucket=self._name, Key=key)

    def delete_all(self, prefix: str) -> None:
        """Delete every object whose key begins with `prefix`. Raises: the errors of `delete`."""
        for item in tuple(self.scan(prefix)):
            self.delete(item.key)

    def delete_old(self, prefix: str, seconds: float, kept: Collection[str]) -> None:
        """Delete objects `seconds` after they were stored, unless their name is in `kept`.

        The name is the next part of the key after `prefix`. Raises: the errors of `delete`.
        """
        now = datetime.now(UTC)
        for item in tuple(self.scan(prefix)):
            name = item.key.removeprefix(prefix).partition("/")[0]
            if (now - item.modified).total_seconds() > seconds and name not in kept:
                self.delete(item.key)

    def scan(self, prefix: str) -> Iterator[ListedObject]:
        """Yield the objects whose keys begin with `prefix`. Raises: the errors of `delete`."""
        with self._translate(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._name, Prefix=prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    yield ListedObject(item["Key"], item["LastModified"])

    def _get(self, key: str, byte_range: str | None, etag: str | None) -> dict[str, Any]:
        options = {"Range": byte_range, "IfMatch": etag}
        with self._translate(key):
            answer: dict[str, Any] = self._client.get_object(
                Bucket=self._name,
                Key=key,
                **{name: value for name, value in options.items() if value is not None},
            )
            return answer

    def _encryption(self) -> dict[str, str]:
        bucket = self._bucket
        if bucket.encryption == "none":
            return {}
        key = {"SSEKMSKeyId": bucket.kms_key} if bucket.kms_key else {}
        return {"ServerSideEncryption": bucket.encryption, **key}

    @contextlib.contextmanager
    def _translate(self, key: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            raise _translate_error(error, self._target(key)) from error

    def _target(self, key: str) -> UploadTarget:
        return UploadTarget(self._name, key, "", "", endpoint_url=self._bucket.endpoint_url)


class ObjectStream:
    """Content of one object or of a range of it, read in blocks.

    A broken connection is opened again at the next byte, unless the object has changed.
    `size`: bytes of the whole object. `start`, `length`: the opened range. `is_part`: the bucket
    has applied the range. `etag`, `modified`: as the bucket names them.
    """

    def __init__(
        self, get: Callable[[str | None, str | None], dict[str, Any]], byte_range: str | None
    ) -> None:
        self._get = get
        answer = get(byte_range, None)
        self._body: Any = answer["Body"]
        self.length = int(answer["ContentLength"])
        self.etag: str = answer["ETag"]
        self.modified: datetime = answer["LastModified"].astimezone(UTC)
        content_range: str = answer.get("ContentRange") or ""
        self.is_part = bool(content_range)
        self.start, self.size = 0, self.length
        if self.is_part:
            # bytes 0-99/1000
            span, _, size = content_range.partition(" ")[2].partition("/")
            self.start, self.size = int(span.partition("-")[0]), int(size)
        self._done = 0
        self._resumes = RESUMES
        self._closed = threading.Event()

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        """Return the next block, empty at the end.

        Raises: `BucketUnavailable`, `ObjectMissing` for an object changed or deleted meanwhile.
        """
        while self._done < self.length and not self._closed.is_set():
            try:
                if self._body is None:
                    first, last = self.start + self._done, self.start + self.length - 1
                    self._body = self._get(f"bytes={first}-{last}", self.etag)["Body"]
                block: bytes = self._body.read(min(size, self.length - self._done))
                if block:
                    self._done += len(block)
                    return block
                raise EOFError("the connection ended early")
            except Exception as error:
                self._drop_connection()
                if self._closed.is_set():
                    break
                if self._resumes == 0 or isinstance(error, ObjectMissing):
                    raise _translate_read_error(error) from error
                self._resumes -= 1
                logger.info("a download continues at byte %d after %r", self._done, error)
                time.sleep(RESUME_PAUSE_SECONDS)
        return b""

    def close(self) -> None:
        """End the reading, also while another thread reads."""
        self._closed.set()
        self._drop_connection()

    def _drop_connection(self) -> None:
        if self._body is not None:
            body, self._body = self._body, None
            body.close()


def _translate_read_error(error: Exception) -> StorageError:
    if isinstance(error, StorageError):
        return error
    text = "the bucket ended a download early. Send the same call again later."
    return BucketUnavailable(text, is_for_callers=True)


def _translate_error(error: Exception, target: UploadTarget) -> StorageError:
    """Return the error of a failed request. Callers see its text, so the log has the details."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code in ("NoSuchKey", "404") or status == 412:
            text = "the bucket has no such object, or another one by now."
            return ObjectMissing(text, is_for_callers=True)
        if status == 416:
            return RangeOutside("The range is outside the file.")
    details = translate_client_error(error, target)
    logger.warning("a request for %s failed: %s", target.key, details)
    if is_transient(error) or _is_failed_transfer(error):
        text = "the bucket is unavailable at present. Send the same call again later."
        return BucketUnavailable(text, is_for_callers=True)
    text = "the bucket refused a request. The server's log has the reason."
    return BucketRefused(text, is_for_callers=True)


def _is_failed_transfer(error: Exception) -> bool:
    """Whether boto3's transfer of a file failed by a transient error."""
    from boto3.exceptions import S3UploadFailedError

    cause = error.__context__
    return isinstance(error, S3UploadFailedError) and cause is not None and is_transient(cause)
