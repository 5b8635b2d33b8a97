"""The files of jobs in the data folder, which the API and its workers share.

clips/JOB-RUN/1.wav      of a run that made them; other formats beside it when asked for
growing/JOB-RUN-1        the same sound while it is made
uploads/ID               what callers have sent
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from handlers.job_api.errors import BodyTooLarge, NotFound
from handlers.job_api.store.jobs import Run
from musicgen.audio.decode import read_audio
from musicgen.audio.encode import encode
from musicgen.audio.tags import AudioTags, read_tags
from musicgen.errors import InvalidInputAudio
from musicgen.request import AudioFormat
from musicgen.result import GenerationResult
from musicgen.storage.base import ClipName
from musicgen.storage.local import LocalStorage, write_atomically

UPLOAD = "upload:"
UPLOAD_MAX_BYTES = 100_000_000
_ABANDONED_SECONDS = 24 * 3600.0


def clip_key(name: ClipName) -> str:
    return f"{name.job_id}/{name.index + 1}.{name.extension}"


class Bucket(Protocol):
    """What is used of a bucket: an address that is valid from now on, of one that was."""

    def fresh(self, address: str) -> str: ...

    def remove(self, address: str) -> None: ...


class Files:
    """Under `folder`, which is made when it is first needed."""

    def __init__(self, folder: Path, bucket: Bucket | None = None) -> None:
        self.folder = folder
        self._bucket = bucket
        self._clips, self._growing = folder / "clips", folder / "growing"
        self._uploads = folder / "uploads"

    @property
    def storage(self) -> LocalStorage:
        """Where workers put clips."""
        return LocalStorage(self._clips, clip_key)

    def clip(self, run_name: str, number: int, extension: str) -> Path:
        return self._clips / run_name / f"{number}.{extension}"

    def growing_path(self, run_name: str, number: int) -> Path:
        return self._growing / f"{run_name}-{number}"

    @contextmanager
    def growing(self, run: Run) -> Iterator[dict[int, BinaryIO]]:
        """By index, from 0, files to write the sound of each clip to as it is made. Who reads one
        can go on when it is gone."""
        self._growing.mkdir(parents=True, exist_ok=True)
        count = clips_of(run.request)
        paths = [self.growing_path(run.name, number + 1) for number in range(count)]
        try:
            with ExitStack() as stack:
                yield {
                    index: stack.enter_context(path.open("wb")) for index, path in enumerate(paths)
                }
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    def discard(self, run: Run, result: GenerationResult | None = None) -> None:
        """Removes what a run has made that is nobody's."""
        shutil.rmtree(self._clips / run.name, ignore_errors=True)
        if self._bucket is not None and result is not None:
            for clip in result.clips:
                self._bucket.remove(clip.address)

    def fresh(self, address: str) -> str:
        """Where a clip in the bucket can be had from now on."""
        return address if self._bucket is None else self._bucket.fresh(address)

    def sweep(self) -> None:
        """Removes what workers that were killed left behind, a day later."""
        for path in self._growing.glob("*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink(missing_ok=True)

    async def upload(self, owner: str, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Writes a body to a new upload; returns its id and how many bytes it has.

        Raises: `BodyTooLarge`, `InvalidInputAudio` for an empty one.
        """
        upload_id = _upload_id(owner)
        temporary = self._uploads / f".{upload_id}.tmp"
        self._uploads.mkdir(parents=True, exist_ok=True)
        size = 0
        try:
            with temporary.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > UPLOAD_MAX_BYTES:
                        limit = f"{UPLOAD_MAX_BYTES / 1e6:g} MB"
                        raise BodyTooLarge(f"a sound may have at most {limit}")
                    file.write(chunk)
            if not size:
                raise InvalidInputAudio("body", "", "it is empty: send the sound as it is")
            temporary.replace(self._uploads / upload_id)
        finally:
            temporary.unlink(missing_ok=True)
        return upload_id, size

    def adopt(self, owner: str, path: Path) -> str:
        """Makes a file an upload; returns its id."""
        upload_id = _upload_id(owner)
        self._uploads.mkdir(parents=True, exist_ok=True)
        shutil.move(path, self._uploads / upload_id)
        return upload_id

    def remove_upload(self, upload_id: str) -> None:
        (self._uploads / upload_id).unlink(missing_ok=True)

    def uploaded(self, owner: str, value: str) -> Path:
        """The file of "upload:ID". Raises: `InvalidInputAudio` for one that is not there, or not
        this caller's."""
        upload_id = value.removeprefix(UPLOAD)
        path = self._uploads / upload_id
        is_own = upload_id.startswith(_owner_mark(owner)) and upload_id.isalnum()
        if not is_own or not path.is_file():
            raise InvalidInputAudio("input_audio", value, "no upload of yours: send it again")
        return path

    def with_upload(self, owner: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """`fields` with the path of an upload in place of its name."""
        value = fields.get("input_audio")
        if isinstance(value, str) and value.startswith(UPLOAD):
            return {**fields, "input_audio": self.uploaded(owner, value)}
        return dict(fields)

    def converted(self, source: Path, extension: str) -> Path:
        """The same sound in another format, made once. Raises: `NotFound` for a clip that is gone.

        Takes seconds for a long clip: for a thread that may wait.
        """
        target = source.with_suffix(f".{extension}")
        if target.exists():
            return target
        if not source.exists():
            raise NotFound("this clip is not kept any more")
        pcm, rate = read_audio(source)
        tags = read_tags(source) or AudioTags("", 0, "", "", "")
        write_atomically(target, [encode(pcm, AudioFormat(extension, sample_rate=rate), tags)])
        return target


def clips_of(fields: Mapping[str, Any]) -> int:
    """How many clips a checked request asks for."""
    return len(fields.get("prompts") or [""]) * int(fields.get("variations") or 1)


def _upload_id(owner: str) -> str:
    return _owner_mark(owner) + secrets.token_hex(16)


def _owner_mark(owner: str) -> str:
    """Of an id, so that nobody can name another's upload, and the id does not tell the key."""
    return hashlib.sha256(f"upload {owner}".encode()).hexdigest()[:12]
