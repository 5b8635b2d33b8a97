"""Responses with a clip: from disk, through this process from the bucket, or by a redirect."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import Headers

from handlers.job_api.api.app_transport import is_own_call
from handlers.job_api.api.bucket_threads import run_in_bucket_thread
from handlers.job_api.api.context import Context
from handlers.job_api.api.counted_streams import SteadyStream
from handlers.job_api.api.file_replies import CONDITIONS, FileReply, check_conditions
from handlers.job_api.errors import NotFound, RangeNotSatisfiable
from handlers.job_api.store.bucket_clips import (
    CLIP_DELETED,
    BucketClips,
    ObjectStream,
    RangeOutside,
    is_bucket_address,
)
from handlers.job_api.store.files import NO_BUCKET, JobFiles, StoredClip
from handlers.job_api.store.jobs import build_run_name
from musicgen.audio.encode import content_type
from musicgen.midi import packages as midi

NAME_CHARACTERS = 48
_RANGE = re.compile(r"bytes=(?:([0-9]{1,15})-([0-9]{1,15})?|-[0-9]{1,15})")
"""Some buckets refuse longer numbers, which mean the end of a clip too."""
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class RequestedClip:
    """Clip `number` (from 1) of a completed job's `row`, as `extension`.

    `downloads`: the caller saves it as a file instead of playing it. `stem`: name of a stem of it,
    empty for the clip itself.
    """

    row: dict[str, Any]
    number: int
    extension: str
    downloads: bool = False
    stem: str = ""

    @property
    def run_name(self) -> str:
        """Name of the run that made the clip."""
        return build_run_name(self.row["id"], self.row["queue_id"])

    @property
    def description(self) -> dict[str, Any]:
        """Entry of the clip in the job's result."""
        clip: dict[str, Any] = self.row["result"]["clips"][self.number - 1]
        return clip

    @property
    def part(self) -> dict[str, Any] | None:
        """Entry of the stem in the job's result, or of notes stored with the clip."""
        is_midi = not self.stem and self.extension == midi.EXTENSION
        name = midi.PART if is_midi else self.stem
        parts = self.description.get("parts") or []
        return next((part for part in parts if part["name"] == name), None)

    @property
    def address(self) -> str:
        """Address of the stored file: a path or a URL."""
        return str((self.part or self.description).get("address") or "")

    @property
    def bytes(self) -> int:
        """Size of the stored file."""
        return int((self.part or self.description).get("bytes") or 0)

    @property
    def stored(self) -> StoredClip:
        """The file as the worker stored it."""
        request = self.row["request"]
        extension = str(request.get("output_format", "wav"))
        continues = bool(request.get("continuation"))
        if self.part is not None and not self.stem:
            extension = midi.EXTENSION
        return StoredClip(
            *(self.run_name, self.number, extension, self.address, self.stem, continues)
        )

    @property
    def file_name(self) -> str:
        """File name for people, from the seed and the job's name or the clip's prompt."""
        clip = self.description
        words = _WORDS.findall(str(self.row["name"] or clip.get("prompt") or "music").lower())
        name = _shorten("-".join(words or ["music"]))
        seed = clip.get("seed")
        number = self.number if seed is None else seed
        return f"{name}-{number}{self.stem and f'-{self.stem}'}.{self.extension}"

    @property
    def disposition(self) -> str:
        """Value of Content-Disposition, with the file name (RFC 6266)."""
        name = self.file_name
        kind = "attachment" if self.downloads else "inline"
        if name.isascii():
            return f'{kind}; filename="{name}"'
        return f"{kind}; filename*=utf-8''{quote(name)}"


def _shorten(name: str) -> str:
    """Cut a file name at the end of a word, as the page does."""
    if len(name) <= NAME_CHARACTERS:
        return name
    end = name[: NAME_CHARACTERS + 1].rfind("-")
    return name[: end if end > 0 else NAME_CHARACTERS]


async def send_clip(request: Request, files: JobFiles, clip: RequestedClip) -> Response:
    """Send a clip from disk or from the bucket, converted if needed.

    Raises: `NotFound` for a deleted clip, `PreconditionFailed`, `RangeNotSatisfiable`,
    `BucketUnavailable`, `BucketRefused`; `DiskFull` and `NotWritable` for a conversion;
    `MissingDependency` for MIDI without its packages.
    """
    bucket = files.clips_in_bucket
    stored = clip.stored
    context: Context = request.app.state.context
    if clip.extension != stored.extension:
        convert = partial(files.convert_clip, stored, clip.extension)
        name, client = f"{stored.name}.{clip.extension}", str(clip.row["owner"])
        return _send_file(await context.conversions.run(name, client, convert), clip)
    if not is_bucket_address(stored.address):
        return _send_file(files.get_stored_path(stored), clip)
    if bucket is None:
        raise NotFound(NO_BUCKET)
    # A signed address allows GET alone, and a redirected POST would be sent again as POST.
    if bucket.redirects and request.method == "GET" and not is_own_call(request.scope):
        disposition = clip.disposition if clip.downloads else None
        address = await run_in_bucket_thread(
            bucket.build_address, clip.run_name, clip.address, disposition
        )
        if address is not None:
            return RedirectResponse(address, 307)
    return await _send_object(request, bucket, clip)


def _send_file(path: Path, clip: RequestedClip) -> Response:
    if not path.exists():
        raise NotFound(CLIP_DELETED)
    return FileReply(path, media_type=_find_type(clip), headers=_headers(clip))


def _find_type(clip: RequestedClip) -> str:
    is_midi = clip.extension == midi.EXTENSION
    return midi.CONTENT_TYPE if is_midi else content_type(clip.extension)


async def _send_object(request: Request, bucket: BucketClips, clip: RequestedClip) -> Response:
    """Send an object of the bucket block by block, or the requested range of it, or 304."""
    if any(name in request.headers for name in CONDITIONS):
        # Conditions come before the range, which the bucket refuses first (RFC 9110, 13.2.2).
        whole = await run_in_bucket_thread(bucket.open, clip.run_name, clip.address)
        whole.close()
        unchanged = check_conditions(request, Headers(_describe(whole, clip)))
        if unchanged is not None:
            return unchanged
    stream = await _open_object(request, bucket, clip)
    is_head = request.method == "HEAD"
    if is_head:
        stream.close()
    return SteadyStream(
        () if is_head else _iterate(stream),
        status_code=206 if stream.is_part else 200,
        media_type=_find_type(clip),
        headers=_describe(stream, clip),
    )


def _describe(stream: ObjectStream, clip: RequestedClip) -> dict[str, str]:
    """Return the headers of a reply with an object."""
    headers = {
        **_headers(clip),
        "Content-Length": str(stream.length),
        "Accept-Ranges": "bytes",
        "ETag": stream.etag,
        "Last-Modified": _format_date(stream),
    }
    if stream.is_part:
        last = stream.start + stream.length - 1
        headers["Content-Range"] = f"bytes {stream.start}-{last}/{stream.size}"
    return headers


async def _open_object(request: Request, bucket: BucketClips, clip: RequestedClip) -> ObjectStream:
    """Open an object, or the requested range of it. Raises: as `send_clip`."""
    part = await _open_range(request, bucket, clip)
    if part is not None and (not part.is_part or _is_unchanged(request, part)):
        return part
    if part is not None:
        part.close()
    if "if-range" in request.headers:
        # The whole clip is for a caller that continues a download of another one.
        whole = await run_in_bucket_thread(bucket.open, clip.run_name, clip.address)
        if part is not None or not _is_unchanged(request, whole):
            return whole
        whole.close()
    raise RangeNotSatisfiable(clip.bytes)


async def _open_range(
    request: Request, bucket: BucketClips, clip: RequestedClip
) -> ObjectStream | None:
    """Open an object or the requested range of it; None: the range is outside the object."""
    # A range of another form may be ignored, and one that ends before its start. That of another
    # method than GET must be (RFC 9110, 14.2).
    sent = request.headers.get("range", "") if request.method == "GET" else ""
    wanted = _RANGE.fullmatch(sent)
    if wanted and wanted[2] and int(wanted[1]) > int(wanted[2]):
        wanted = None
    byte_range = wanted[0] if wanted else None
    try:
        return await run_in_bucket_thread(
            lambda: bucket.open(clip.run_name, clip.address, byte_range)
        )
    except RangeOutside:
        return None


async def _iterate(stream: ObjectStream) -> AsyncIterator[bytes]:
    try:
        while block := await run_in_bucket_thread(stream.read):
            yield block
    finally:
        stream.close()


def _headers(clip: RequestedClip) -> dict[str, str]:
    return {"Content-Disposition": clip.disposition, "Cache-Control": "private, max-age=3600"}


def _is_unchanged(request: Request, stream: ObjectStream) -> bool:
    """Return whether the header If-Range, if there is one, allows a part of this object."""
    expected = request.headers.get("if-range")
    return expected is None or expected in (stream.etag, _format_date(stream))


def _format_date(stream: ObjectStream) -> str:
    return format_datetime(stream.modified, usegmt=True)
