"""Clips of completed jobs in the bucket: read and deleted.

PREFIX/JOB-RUN/clip.wav    a clip of a run, beside it its manifest
"""

from __future__ import annotations

from pathlib import Path

from handlers.job_api.errors import NotFound
from musicgen.errors import ObjectMissing, StorageError
from musicgen.storage.objects import BucketObjects, ObjectStream, RangeOutside

__all__ = ["BucketClips", "ObjectStream", "RangeOutside", "is_bucket_address"]

CLIP_DELETED = "The clip has been deleted; its retention time is over."


def is_bucket_address(address: str) -> bool:
    """Return whether the address of a clip in a job's row is that of a bucket."""
    return address.startswith(("http://", "https://"))


class BucketClips:
    """Clips in the bucket. Every method blocks.

    `redirects`: whether callers fetch clips from the bucket themselves.
    """

    def __init__(self, objects: BucketObjects, *, redirects: bool) -> None:
        self._objects = objects
        self.redirects = redirects

    @property
    def origin(self) -> str:
        """Origin of the addresses from `build_address`."""
        return self._objects.addresses.origin

    def build_address(
        self, run_name: str, address: str, disposition: str | None = None
    ) -> str | None:
        """Return a newly signed address of a clip; a signed one expires.

        None: the address cannot carry the `disposition`, the header for a file name.
        """
        addresses = self._objects.addresses
        if disposition is not None and not addresses.can_name_downloads:
            return None
        return addresses.build(self._find_key(run_name, address), disposition)

    def open(self, run_name: str, address: str, byte_range: str | None = None) -> ObjectStream:
        """Open a clip, or a range of it.

        Raises: `NotFound` for a deleted clip, `RangeOutside`, `BucketUnavailable`,
        `BucketRefused`.
        """
        try:
            return self._objects.open(self._find_key(run_name, address), byte_range)
        except ObjectMissing:
            raise NotFound(CLIP_DELETED) from None

    def download(self, run_name: str, address: str, path: Path) -> None:
        """Write a clip to a new file. Raises: the errors of `open`, OSError."""
        try:
            self._objects.download(self._find_key(run_name, address), path)
        except ObjectMissing:
            raise NotFound(CLIP_DELETED) from None

    def delete_run(self, run_name: str) -> None:
        """Delete the clips of a run. Raises: `BucketUnavailable`, `BucketRefused`."""
        self._objects.delete_all(f"{self._objects.prefix}{run_name}/")

    def delete_job(self, job_id: str) -> None:
        """Delete the clips of all runs of a job. Raises: the errors of `delete_run`."""
        self._objects.delete_all(f"{self._objects.prefix}{job_id}-")

    def read_job(self, key: str) -> str:
        """Return the id of the job of a key, or an empty text for another key."""
        prefix = self._objects.prefix
        return key.removeprefix(prefix).partition("-")[0] if key.startswith(prefix) else ""

    def _find_key(self, run_name: str, address: str) -> str:
        try:
            return self._objects.addresses.read_key(address)
        except StorageError:
            # An address made before the bucket's endpoint was changed.
            name = address.partition("?")[0].rpartition("/")[2]
            return f"{self._objects.prefix}{run_name}/{name}"
