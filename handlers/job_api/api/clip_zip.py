"""Clips of several jobs as one zip file, streamed: neither memory nor disk holds it."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from datetime import datetime
from typing import Any, BinaryIO

from handlers.job_api.api.bucket_threads import run_in_bucket_thread
from handlers.job_api.api.clip_responses import RequestedClip
from handlers.job_api.errors import NotFound
from handlers.job_api.store.bucket_clips import CLIP_DELETED, ObjectStream, is_bucket_address
from handlers.job_api.store.files import NO_BUCKET, JobFiles
from musicgen.midi import packages as midi

BLOCK_BYTES = 2**18
MISSING = "missing.txt"


def list_clips(rows: Iterable[dict[str, Any]]) -> list[RequestedClip]:
    """Return the clips of the completed jobs among `rows` and their parts, as they were stored."""
    return [
        clip
        for row in rows
        if row["state"] == "completed"
        for number in range(1, len(row["result"]["clips"]) + 1)
        for clip in _list_files(row, number)
    ]


def _list_files(row: dict[str, Any], number: int) -> Iterator[RequestedClip]:
    extension = str(row["request"].get("output_format", "wav"))
    clip = RequestedClip(row, number, extension)
    yield clip
    for part in clip.description.get("parts") or []:
        if part["name"] == midi.PART:
            yield RequestedClip(row, number, midi.EXTENSION)
        else:
            yield RequestedClip(row, number, extension, stem=part["name"])


async def stream_zip(files: JobFiles, clips: list[RequestedClip]) -> AsyncIterator[bytes]:
    """Yield a zip file of clips, block by block.

    A clip deleted meanwhile is named in `MISSING`. A bucket that fails ends the answer early.
    """
    blocks = _build_zip(files, clips)
    try:
        while (block := await run_in_bucket_thread(next, blocks, None)) is not None:
            if block:
                yield block
    finally:
        # A caller that hangs up leaves a block in the making; its thread closes the rest.
        with contextlib.suppress(ValueError):
            blocks.close()


def _build_zip(files: JobFiles, clips: list[RequestedClip]) -> Generator[bytes, None, None]:
    sink, missing = _Sink(), []
    # Audio does not get smaller.
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, clip in _name_clips(clips):
            try:
                source = _open(files, clip)
            except NotFound:
                missing.append(name)
                continue
            entry = zipfile.ZipInfo(name, _read_time(clip.row["finished_at"]))
            entry.file_size = clip.bytes
            with contextlib.closing(source), archive.open(entry, "w") as target:
                while block := source.read(BLOCK_BYTES):
                    target.write(block)
                    yield sink.take()
        if missing:
            text = f"{CLIP_DELETED}\n\n" + "".join(f"{name}\n" for name in missing)
            archive.writestr(MISSING, text)
    yield sink.take()


def _name_clips(clips: Iterable[RequestedClip]) -> Iterator[tuple[str, RequestedClip]]:
    """Yield each clip with a file name of its own."""
    used = {MISSING}
    for clip in clips:
        name, number = clip.file_name, 1
        stem, _, extension = name.rpartition(".")
        while name in used:
            number += 1
            name = f"{stem} ({number}).{extension}"
        used.add(name)
        yield name, clip


def _open(files: JobFiles, clip: RequestedClip) -> BinaryIO | ObjectStream:
    """Open a clip. Raises: `NotFound` for a deleted one, `BucketUnavailable`, `BucketRefused`."""
    stored = clip.stored
    if is_bucket_address(stored.address):
        if files.clips_in_bucket is None:
            raise NotFound(NO_BUCKET)
        return files.clips_in_bucket.open(stored.run_name, stored.address)
    try:
        return files.get_stored_path(stored).open("rb")
    except FileNotFoundError:
        raise NotFound(CLIP_DELETED) from None


def _read_time(moment: datetime) -> tuple[int, int, int, int, int, int]:
    return (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)


class _Sink:
    """Target of a zip file without positions: keeps the bytes until they are taken."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        self._bytes += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: `take` returns all bytes."""

    def close(self) -> None:
        """Do nothing: the bytes stay until they are taken."""

    def take(self) -> bytes:
        """Return what was written since the last call."""
        data = bytes(self._bytes)
        self._bytes.clear()
        return data
