"""A file on a web server or in an S3 bucket, downloaded in parallel parts.

One connection seldom reaches the full speed of a network. S3 is read by s3transfer, the transfer
library of boto3. A web server is read here, by range requests.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from musicgen.errors import CheckpointCorrupt, CheckpointNotFound, MissingDependency
from musicgen.errors.counts import format_count
from musicgen.http_errors import list_http_errors
from musicgen.settings import BucketSettings
from musicgen.storage.s3_client import open_client

PART_BYTES = 16 * 2**20
CONNECTIONS = 8
ATTEMPTS = 4
TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 0.5


class _Changed(Exception):
    """The file was replaced after the download began."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its size in bytes, and how to write its content to an empty file.

    `save` raises: `CheckpointNotFound`, `CheckpointCorrupt` for a file that changes meanwhile, and
    `OSError` of the local disk.
    """

    size: int
    save: Callable[[BinaryIO], None]


@contextmanager
def open_remote_file(url: str, label: str, bucket: BucketSettings) -> Iterator[RemoteFile]:
    """Open the file at an http, https or s3 URL. `label`: the URL without its secrets, for errors.

    Raises: `CheckpointNotFound`, `MissingDependency`.
    """
    if url.startswith("s3://"):
        yield _open_s3(url, label, bucket)
        return
    import httpx

    # The operator sets MUSICGEN_MODEL, so private addresses are allowed.
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT_SECONDS) as client:
        try:
            yield _open_http(client, url, label)
        except list_http_errors() as error:
            raise _unreachable_error(label, error) from error


def _open_s3(url: str, label: str, bucket: BucketSettings) -> RemoteFile:
    try:
        from boto3.s3.transfer import TransferConfig
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise MissingDependency("boto3", label, "s3") from None
    parts = urlsplit(url)
    client = open_client(bucket, attempts=ATTEMPTS)
    location = {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}

    def read_head() -> tuple[int, str]:
        try:
            head = client.head_object(**location)
        except (ClientError, BotoCoreError) as error:
            raise _unreachable_error(label, error) from error
        if "ContentLength" not in head or "ETag" not in head:
            raise CheckpointNotFound(
                f"{label} is not on a server of S3: it answered without a size or an ETag. Check "
                "MUSICGEN_BUCKET_ENDPOINT_URL and the proxy."
            )
        return int(head["ContentLength"]), str(head["ETag"])

    size, etag = read_head()
    transfer = TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_concurrency=CONNECTIONS,
        num_download_attempts=ATTEMPTS,
        preferred_transfer_client="classic",
    )

    def save(file: BinaryIO) -> None:
        failure: Exception | None = None
        try:
            client.download_fileobj(**location, Fileobj=file, Config=transfer)
        except OSError:
            raise  # of the local disk: those of the network have types of boto3
        except Exception as error:  # of botocore, s3transfer or urllib3
            failure = error
        # s3transfer has no way to pin the version, so the ETag is compared afterwards.
        if read_head() != (size, etag):
            raise _change_error(label)
        if failure is not None:
            raise _interruption_error(
                label, f"within its {format_count(size, 'byte')}", failure
            ) from failure

    return RemoteFile(size, save)


def _open_http(client: Any, url: str, label: str) -> RemoteFile:
    first = client.get(url, headers={"Range": "bytes=0-0"})
    if first.status_code not in (200, 206):
        raise CheckpointNotFound(f"{label} returned HTTP {first.status_code}: check the address")
    if first.status_code == 200:
        # The server does not know ranges and has sent the whole file.
        content = first.content

        def write(file: BinaryIO) -> None:
            file.write(content)

        return RemoteFile(len(content), write)
    etag = first.headers.get("etag", "")
    # A weak ETag does not promise the same bytes.
    condition = {"If-Range": etag} if etag and not etag.startswith("W/") else {}

    def read(start: int, end: int) -> bytes:
        response = client.get(url, headers={"Range": f"bytes={start}-{end - 1}", **condition})
        if response.status_code == 200:
            raise _Changed
        response.raise_for_status()
        return bytes(response.content)

    total = first.headers.get("content-range", "").rpartition("/")[2]
    if not total.isdecimal():
        raise CheckpointNotFound(
            f"{label} returned part of a file without its size: check the server"
        )
    size = int(total)
    return RemoteFile(size, lambda file: _save_ranges(file, size, read, label))


def _save_ranges(file: BinaryIO, size: int, read: Callable[[int, int], bytes], label: str) -> None:
    """Write the ranges of a file side by side. `read(start, end)` returns bytes [start, end)."""
    stop = threading.Event()

    def save_part(start: int) -> None:
        end = min(start + PART_BYTES, size)
        content = _read_part(read, start, end, stop, label, size)
        os.pwrite(file.fileno(), content, start)

    with ThreadPoolExecutor(CONNECTIONS) as connections:
        file.truncate(size)
        parts = [connections.submit(save_part, start) for start in range(0, size, PART_BYTES)]
        try:
            for part in parts:
                part.result()
        finally:
            stop.set()


def _read_part(
    read: Callable[[int, int], bytes],
    start: int,
    end: int,
    stop: threading.Event,
    label: str,
    size: int,
) -> bytes:
    """Read one range, at most `ATTEMPTS` times; nothing once `stop` is set."""
    for attempt in range(1, ATTEMPTS + 1):
        if stop.is_set():
            return b""
        try:
            content = read(start, end)
            if len(content) != end - start:
                raise OSError(f"{format_count(len(content), 'byte')} instead of {end - start}")
            return content
        except _Changed:
            raise _change_error(label) from None
        except Exception as error:  # of httpx, or a short answer
            if attempt == ATTEMPTS:
                raise _interruption_error(label, f"at byte {start} of {size}", error) from error
            stop.wait(PAUSE_SECONDS * 2**attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _unreachable_error(label: str, error: Exception) -> CheckpointNotFound:
    return CheckpointNotFound(
        f"{label} could not be fetched ({type(error).__name__}): check the address and the "
        "network. For a bucket check MUSICGEN_BUCKET_ENDPOINT_URL and the credentials too."
    )


def _interruption_error(label: str, place: str, error: Exception) -> CheckpointNotFound:
    return CheckpointNotFound(
        f"{label} stopped {place}, {ATTEMPTS} times ({type(error).__name__}: {error}): check the "
        "server and the network"
    )


def _change_error(label: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(f"{label} changed during the download: start again")
