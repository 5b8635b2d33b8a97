"""A packed file, or a checkpoint in an archive, from where it lies, https or S3, to a folder of
this machine or a shared volume.

Parts are asked for side by side, because one connection seldom has all of a network's speed. The
file appears under its name only when every byte of it has been compared with its manifest; a lock
keeps a second worker on the same volume waiting instead of downloading too, and it then finds the
file. An archive has no manifest: it is unpacked whole or not at all, and not kept. An address may
end in `#sha256=HEX`, the hash of the whole file: then nobody who can write there can put another
one in its place.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from musicgen.checkpoints.address import is_address
from musicgen.checkpoints.archives import checkpoint_in, is_archive, kept_checkpoint
from musicgen.checkpoints.locking import explained, locked
from musicgen.checkpoints.packed.format import SUFFIX, check_hashes, read_header
from musicgen.errors import (
    CheckpointCorrupt,
    CheckpointNotFound,
    DiskFull,
    MissingDependency,
)
from musicgen.settings import BucketSettings, Settings
from musicgen.storage.s3_client import open_client

PART_BYTES = 16 * 2**20
CONNECTIONS = 8
ATTEMPTS = 4
TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 0.5
_PIN = re.compile(r"sha256=[0-9a-fA-F]{64}")
_ARCHIVE_SUFFIX = re.compile(r"\.(zip|tar|tgz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
_PIECE = 2**20
_ADVICE = "set MUSICGEN_WEIGHTS_DIR to a folder with room that may be written to"

logger = logging.getLogger(__name__)


class _Changed(Exception):
    """The file is another one than when the download began."""


@dataclass(frozen=True)
class Remote:
    """A file that can be asked for in parts: `read(start, end)` gives bytes from `start` up to and
    not including `end`."""

    size: int
    read: Callable[[int, int], bytes]


def fetch(address: str, settings: Settings) -> Path:
    """The packed file of `address` in the folder of weights, or the folder of an archive there,
    downloaded if it is not there. An archive of this machine is unpacked there.

    Raises: `CheckpointNotFound`, `DiskFull`, `NotWritable`, and what `archives.unpack` raises.
    """
    if not is_address(address):
        return _from_here(Path(address), settings)
    url, _, pin = address.partition("#")
    shown = url.partition("?")[0]
    if pin and not _PIN.fullmatch(pin):
        raise CheckpointNotFound(f"{shown}: #{pin} is not #sha256= and 64 hexadecimal digits")
    folder = settings.weights_dir.expanduser()
    target = folder / _name_of(shown, f"{shown}#{pin}", SUFFIX)
    unpacked = _unpacked_beside(target)
    with explained(folder, _ADVICE):
        folder.mkdir(parents=True, exist_ok=True)
        if not (target.exists() or unpacked.exists()):
            with locked(target):
                if not (target.exists() or unpacked.exists()):
                    _download(url, pin, target, settings.bucket)
    if unpacked.exists():
        return checkpoint_in(unpacked)
    read_header(target)
    return target


def _from_here(archive: Path, settings: Settings) -> Path:
    """An archive that is replaced by another one is unpacked anew."""
    folder, status = settings.weights_dir.expanduser(), archive.stat()
    known = f"{archive.resolve()} {status.st_mtime_ns} {status.st_size}"
    target = folder / _name_of(archive.name, known)
    with explained(folder, _ADVICE):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(target):
            return kept_checkpoint(archive, target)


def main() -> None:
    """Fetches MUSICGEN_MODEL; what goes wrong is said by whoever loads it."""
    settings = Settings.from_env()
    fetch(settings.model, settings)


def _download(url: str, pin: str, target: Path, bucket: BucketSettings) -> None:
    started, shown = time.perf_counter(), url.partition("?")[0]
    with _remote(url, shown, bucket) as remote:
        free = shutil.disk_usage(target.parent).free
        if remote.size > free:
            raise DiskFull(
                f"{shown} has {remote.size / 1e9:.2f} GB, and {target.parent} {free / 1e9:.2f} GB "
                "free: free some space, or set MUSICGEN_WEIGHTS_DIR"
            )
        partial = target.with_name(f".{target.name}.partial")
        try:
            _fill(partial, remote, shown)
            if pin:
                _check_pin(partial, pin, shown)
            if is_archive(partial):
                kept_checkpoint(partial, _unpacked_beside(target))
            else:
                check_hashes(partial)
                partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    seconds = time.perf_counter() - started
    logger.info("fetched %s: %.2f GB in %.1f s", shown, remote.size / 1e9, seconds)


def _fill(partial: Path, remote: Remote, shown: str) -> None:
    stop = threading.Event()
    with partial.open("wb") as file, ThreadPoolExecutor(CONNECTIONS) as connections:
        file.truncate(remote.size)
        parts = [
            connections.submit(_part, file.fileno(), remote, start, stop, shown)
            for start in range(0, remote.size, PART_BYTES)
        ]
        try:
            for part in parts:
                part.result()
        finally:
            stop.set()
        os.fsync(file.fileno())


def _part(file: int, remote: Remote, start: int, stop: threading.Event, shown: str) -> None:
    end = min(start + PART_BYTES, remote.size)
    for attempt in range(1, ATTEMPTS + 1):
        if stop.is_set():
            return
        try:
            content = remote.read(start, end)
            if len(content) != end - start:
                raise OSError(f"{len(content)} bytes instead of {end - start}")
            break
        except _Changed:
            raise CheckpointCorrupt(f"{shown} was changed while it was fetched: again") from None
        except Exception as error:  # each client has errors of its own
            if attempt == ATTEMPTS:
                raise CheckpointNotFound(
                    f"{shown} stopped at byte {start} of {remote.size}, {ATTEMPTS} times "
                    f"({type(error).__name__}: {error}): check the server and the network"
                ) from error
            stop.wait(PAUSE_SECONDS * 2**attempt)
    os.pwrite(file, content, start)


@contextmanager
def _remote(url: str, shown: str, bucket: BucketSettings) -> Iterator[Remote]:
    if url.startswith("s3://"):
        yield _s3(url, shown, bucket)
        return
    import httpx

    # Whoever sets MUSICGEN_MODEL runs this machine: its own network may be asked.
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT_SECONDS) as client:
        try:
            yield _http(client, url, shown)
        except httpx.HTTPError as error:
            raise _unreachable(shown, error) from error


def _http(client: Any, url: str, shown: str) -> Remote:
    first = client.get(url, headers={"Range": "bytes=0-0"})
    if first.status_code not in (200, 206):
        raise CheckpointNotFound(f"{shown} answers with {first.status_code}: check the address")
    tag = first.headers.get("etag", "")
    same = {"If-Range": tag} if tag and not tag.startswith("W/") else {}
    if first.status_code == 200:
        # A server without ranges has sent all of it.
        content = first.content
        return Remote(len(content), lambda start, end: content[start:end])

    def read(start: int, end: int) -> bytes:
        answer = client.get(url, headers={"Range": f"bytes={start}-{end - 1}", **same})
        if answer.status_code == 200:
            raise _Changed
        answer.raise_for_status()
        return bytes(answer.content)

    return Remote(int(first.headers["content-range"].rpartition("/")[2]), read)


def _s3(url: str, shown: str, bucket: BucketSettings) -> Remote:
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise MissingDependency("boto3", shown, "s3") from None
    parts = urlsplit(url)
    client, where = open_client(bucket), {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}
    try:
        head = client.head_object(**where)
    except (ClientError, BotoCoreError) as error:
        raise _unreachable(shown, error) from error

    def read(start: int, end: int) -> bytes:
        try:
            answer = client.get_object(
                **where, Range=f"bytes={start}-{end - 1}", IfMatch=head["ETag"]
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                raise _Changed from error
            raise
        return bytes(answer["Body"].read())

    return Remote(head["ContentLength"], read)


def _unreachable(shown: str, error: Exception) -> CheckpointNotFound:
    return CheckpointNotFound(
        f"{shown} could not be fetched ({type(error).__name__}): check the address, the network "
        "and, of a bucket, MUSICGEN_BUCKET_ENDPOINT_URL and the credentials"
    )


def _name_of(shown: str, known: str, suffix: str = "") -> str:
    """A name here for an address: its own, and what tells it from its namesakes."""
    digest = hashlib.sha256(known.encode()).hexdigest()[:12]
    last = PurePosixPath(unquote(urlsplit(shown).path)).name.removesuffix(SUFFIX)
    last = _ARCHIVE_SUFFIX.sub("", last)
    kept = "".join(each for each in last if each.isascii() and (each.isalnum() or each in "-_."))
    return f"{kept.strip('.')[:80] or 'weights'}-{digest}{suffix}"


def _unpacked_beside(target: Path) -> Path:
    return target.with_name(target.name.removesuffix(SUFFIX))


def _check_pin(target: Path, pin: str, shown: str) -> None:
    found = hashlib.sha256()
    with target.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    if pin.partition("=")[2].lower() != found.hexdigest():
        raise CheckpointCorrupt(
            f"{shown} has sha256 {found.hexdigest()} and not that of MUSICGEN_MODEL: was it packed "
            "again? If not, check who can write there"
        )
