"""A model's folder in a bucket of Google Cloud Storage, as Vertex AI hands it to a container.

The token comes from the machine's metadata server. Source, as read on 2026-11-29:
https://cloud.google.com/storage/docs/json_api/v1/objects/list and .../objects/get,
https://cloud.google.com/compute/docs/access/authenticate-workloads#applications.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from musicgen.checkpoints.locking import translate_disk_errors
from musicgen.errors import CheckpointNotFound
from musicgen.errors.counts import format_count
from musicgen.http_errors import list_http_errors

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 4
PAUSE_SECONDS = 0.5
TIMEOUT_SECONDS = 30.0
METADATA_HOST = "metadata.google.internal"
_API = "https://storage.googleapis.com"
_TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"
_ADVICE = "set MUSICGEN_WEIGHTS_DIR to a writable folder with enough room"

logger = logging.getLogger(__name__)


def fetch_folder(
    address: str, folder: Path, emulator: str | None = None, metadata_host: str = METADATA_HOST
) -> Path:
    """Download the files below `gs://bucket/prefix` into `folder`, and return it.

    Files already there with their size are kept. `emulator`: address in place of Google's, used
    without a token.

    Raises: `CheckpointNotFound`, `DiskFull`, `NotWritable`.
    """
    import httpx

    parts = urlsplit(address)
    if parts.scheme != "gs" or not parts.netloc:
        raise CheckpointNotFound(f"{address} must be gs://BUCKET/FOLDER")
    prefix = parts.path.strip("/")
    prefix = f"{prefix}/" if prefix else ""
    # Of the connection, or an answer that is not Google's.
    failures: tuple[type[Exception], ...] = (*list_http_errors(), ValueError, KeyError)
    with httpx.Client(base_url=emulator or _API, timeout=TIMEOUT_SECONDS) as client:
        try:
            if not emulator:
                client.headers["Authorization"] = f"Bearer {_read_token(client, metadata_host)}"
            files = list(_list_files(client, parts.netloc, prefix))
            with translate_disk_errors(folder, _ADVICE):
                for file in files:
                    name = PurePosixPath(str(file["name"]).removeprefix(prefix))
                    _save(client, parts.netloc, file, _place(folder, name, address))
        except failures as error:
            raise CheckpointNotFound(_describe(address, error)) from error
    if not files:
        raise CheckpointNotFound(f"{address} has no files: check the folder of the model")
    logger.info("model folder fetched address=%s files=%d", address, len(files))
    return folder


def _read_token(client: httpx.Client, host: str) -> str:
    answer = client.get(f"http://{host}{_TOKEN}", headers={"Metadata-Flavor": "Google"})
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def _list_files(client: httpx.Client, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield name, size and generation of each file; a name with a slash at its end is a folder."""
    query = {"prefix": prefix, "fields": "nextPageToken,items(name,size,generation)"}
    while True:
        answer = client.get(f"/storage/v1/b/{quote(bucket, safe='')}/o", params=query)
        answer.raise_for_status()
        page = answer.json()
        yield from (file for file in page.get("items", ()) if not file["name"].endswith("/"))
        if not (mark := page.get("nextPageToken")):
            return
        query["pageToken"] = mark


def _place(folder: Path, name: PurePosixPath, address: str) -> Path:
    if name.is_absolute() or ".." in name.parts:
        raise CheckpointNotFound(f"{address} has a file outside its folder: {name}")
    return folder / name


def _save(client: httpx.Client, bucket: str, file: dict[str, Any], target: Path) -> None:
    """Download one file under a temporary name; an interrupted transfer goes on where it ended."""
    size = int(file["size"])
    if target.is_file() and target.stat().st_size == size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    url = f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(file['name'], safe='')}"
    # The generation pins the content over all attempts.
    query = {"alt": "media", "generation": str(file.get("generation", ""))}
    query = {name: value for name, value in query.items() if value}
    with part.open("wb") as content:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _read_rest(client, url, query, content)
                if content.tell() == size:
                    break
            except list_http_errors():
                if attempt == ATTEMPTS:
                    raise
            time.sleep(PAUSE_SECONDS * 2**attempt)
        else:
            length = format_count(size, "byte")
            raise CheckpointNotFound(f"{file['name']} ended before its {length}, each time")
    part.replace(target)


def _read_rest(client: httpx.Client, url: str, query: dict[str, str], content: Any) -> None:
    """Append the rest of a file to `content`, or all of it from a server without ranges."""
    done = content.tell()
    headers = {"Range": f"bytes={done}-"} if done else {}
    with client.stream("GET", url, params=query, headers=headers) as answer:
        answer.raise_for_status()
        if done and answer.status_code != 206:
            content.seek(0)
            content.truncate()
        for piece in answer.iter_bytes(2**20):
            content.write(piece)


def _describe(address: str, error: BaseException) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = type(error).__name__ if status is None else f"HTTP {status}"
    return (
        f"{address} could not be fetched ({reason}): check that the folder exists, that the "
        "service account may read it (storage.objects.list and .get), and the network"
    )
