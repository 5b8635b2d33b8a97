"""Stored bytes of uploads: in a folder, or in the bucket for workers on other machines.

FOLDER/ID, or PREFIX/uploads/ID in the bucket
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from handlers.job_api.store.disk import delete_old_files
from musicgen.disk_errors import translate_full_disk
from musicgen.errors import ObjectMissing
from musicgen.storage.objects import BucketObjects


class UploadStorage(Protocol):
    """Storage of uploads by their ids. Every method blocks.

    The methods of a bucket raise `BucketUnavailable` and `BucketRefused`.
    """

    def save(self, upload_id: str, path: Path) -> None:
        """Store a complete file, and remove it from `path`."""

    def exists(self, upload_id: str) -> bool:
        """Return whether an upload is stored."""

    def open(self, upload_id: str) -> AbstractContextManager[Path | None]:
        """Return a context with a local file of the upload, or with None if it is missing."""

    def delete(self, upload_id: str) -> None:
        """Delete an upload; a missing one is no error."""

    def delete_unknown(self, known: Collection[str], seconds: float) -> None:
        """Delete uploads not in `known`, `seconds` after they were stored."""


class FolderUploads:
    """Uploads in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, upload_id: str, path: Path) -> None:
        """Store a complete file, and remove it from `path`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        shutil.move(path, self._folder / upload_id)

    def exists(self, upload_id: str) -> bool:
        """Return whether an upload is stored."""
        return (self._folder / upload_id).is_file()

    @contextmanager
    def open(self, upload_id: str) -> Iterator[Path | None]:
        """Yield the file of the upload, or None."""
        path = self._folder / upload_id
        yield path if path.is_file() else None

    def delete(self, upload_id: str) -> None:
        """Delete an upload; a missing one is no error."""
        (self._folder / upload_id).unlink(missing_ok=True)

    def delete_unknown(self, known: Collection[str], seconds: float) -> None:
        """Delete uploads not in `known`, `seconds` after they were stored."""
        delete_old_files(self._folder, seconds, "[!.]*", known)


class BucketUploads:
    """Uploads in the bucket. `scratch`: folder for local copies."""

    def __init__(self, objects: BucketObjects, scratch: Path) -> None:
        self._objects = objects
        self._scratch = scratch

    def save(self, upload_id: str, path: Path) -> None:
        """Store a complete file, and remove it from `path`."""
        self._objects.upload(self._key(upload_id), path)
        path.unlink()

    def exists(self, upload_id: str) -> bool:
        """Return whether an upload is stored."""
        return self._objects.exists(self._key(upload_id))

    @contextmanager
    def open(self, upload_id: str) -> Iterator[Path | None]:
        """Yield a copy of the upload, deleted on leaving the context, or None."""
        with translate_full_disk(self._scratch):
            self._scratch.mkdir(parents=True, exist_ok=True)
            copies = TemporaryDirectory(prefix=".", dir=self._scratch)
        with copies as folder:
            path = Path(folder) / upload_id
            found: Path | None = path
            try:
                with translate_full_disk(self._scratch):
                    self._objects.download(self._key(upload_id), path)
            except ObjectMissing:
                found = None
            yield found

    def delete(self, upload_id: str) -> None:
        """Delete an upload; a missing one is no error."""
        self._objects.delete(self._key(upload_id))

    def delete_unknown(self, known: Collection[str], seconds: float) -> None:
        """Delete uploads not in `known`, `seconds` after they were stored."""
        self._objects.delete_old(self._key(""), seconds, known)

    def _key(self, upload_id: str) -> str:
        return f"{self._objects.prefix}uploads/{upload_id}"
