"""Files of jobs: of this machine's data folder, or of the bucket shared by all machines.

clips/JOB-RUN/1.wav      finished clips of a run, their stems as 1-drums.wav, their notes as 1.mid
converted/JOB-RUN-1.mp3  conversions of clips to other formats; signed ones as JOB-RUN-1-signed.mp3
growing/JOB-RUN-1        live audio of a clip, written while the clip is made
uploads/ID               uploads of callers

With a bucket the folder holds nothing that another process needs: see `bucket_clips`,
`live_audio` and `upload_storage` for the keys there.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlers.job_api.errors import NotFound
from handlers.job_api.store.bucket_clips import CLIP_DELETED, BucketClips, is_bucket_address
from handlers.job_api.store.clip_cache import ClipCache
from handlers.job_api.store.conversion import convert
from handlers.job_api.store.disk import delete_old_files, hide_disk_errors
from handlers.job_api.store.jobs import WorkerRun
from handlers.job_api.store.live_audio import BucketLive, FolderLive, LiveStorage
from handlers.job_api.store.upload_files import UploadFiles
from handlers.job_api.store.upload_storage import BucketUploads, FolderUploads, UploadStorage
from musicgen.midi.packages import EXTENSION, check_installed
from musicgen.storage.base import ClipName
from musicgen.storage.local import LocalStorage
from musicgen.storage.objects import BucketObjects
from musicgen.storage.spool import Spool

if TYPE_CHECKING:
    from musicgen.credentials.signing import ContentSigner

NO_BUCKET = "The clip is in a bucket, and this server has no bucket."
_ABANDONED_SECONDS = 24 * 3600.0


def build_clip_key(name: ClipName) -> str:
    """Return the path of a clip below the clips folder, counted from 1."""
    return f"{name.job_id}/{name.index + 1}{name.suffix}"


@dataclass(frozen=True)
class StoredClip:
    """Clip `number` (from 1) of a run as it was stored, with the `address` of the job's result.

    `part`: a stem of the clip, empty for the clip itself. `continues_a_sound`: the clip begins with
    its job's input audio.
    """

    run_name: str
    number: int
    extension: str
    address: str
    part: str = ""
    continues_a_sound: bool = False

    @property
    def name(self) -> str:
        """Name different from those of all other clips."""
        return f"{self.run_name}-{self.number}{self.part and f'-{self.part}'}"


class JobFiles:
    """Clips, live audio and uploads in `folder`, created on first use, or in the bucket.

    `objects`: the bucket, if there is one. `redirects`: callers fetch clips from it themselves.
    `spool`: clips of this machine that wait for the bucket. `signer`: signs conversions.
    """

    def __init__(
        self,
        folder: Path,
        objects: BucketObjects | None = None,
        *,
        redirects: bool = False,
        spool: Spool | None = None,
        signer: ContentSigner | None = None,
    ) -> None:
        self.folder = folder
        self._signer = signer
        self._spool = spool
        self._clips, scratch = folder / "clips", folder / "uploads"
        self._converted, self._growing = folder / "converted", folder / "growing"
        self._cache = ClipCache(self._converted)
        self.live_folder = FolderLive(self._growing)
        self.clips_in_bucket: BucketClips | None = None
        self.live_in_bucket: BucketLive | None = None
        uploads: UploadStorage = FolderUploads(scratch)
        if objects is not None:
            self.clips_in_bucket = BucketClips(objects, redirects=redirects)
            self.live_in_bucket = BucketLive(objects)
            uploads = BucketUploads(objects, scratch)
        self.uploads = UploadFiles(uploads, scratch)

    @property
    def storage(self) -> LocalStorage:
        """Storage for the clips of workers without a bucket."""
        return LocalStorage(self._clips, build_clip_key)

    @property
    def media_origin(self) -> str:
        """Origin of clips that callers fetch from the bucket, empty if they fetch none there."""
        bucket = self.clips_in_bucket
        return bucket.origin if bucket is not None and bucket.redirects else ""

    @property
    def live(self) -> LiveStorage:
        """Storage for the live audio of workers."""
        return self.live_in_bucket or self.live_folder

    def get_clip_path(self, run_name: str, number: int, extension: str, part: str = "") -> Path:
        """Return the path of a finished clip or of its `part`; `number` counts from 1."""
        return self._clips / build_clip_key(ClipName(run_name, number - 1, 1, extension, part))

    def get_stored_path(self, stored: StoredClip) -> Path:
        """Return the path of a clip in the folder."""
        return self.get_clip_path(stored.run_name, stored.number, stored.extension, stored.part)

    def discard(self, run: WorkerRun, *, is_stored: bool = False) -> None:
        """Delete the clips of a run without a completed job.

        `is_stored`: whether all clips were stored; they may then lie in the bucket.
        """
        shutil.rmtree(self._clips / run.name, ignore_errors=True)
        if self.clips_in_bucket is not None and is_stored:
            self.clips_in_bucket.delete_run(run.name)

    def delete_job(self, job_id: str) -> None:
        """Delete the clips and the live audio of all runs of a job. Blocks.

        Raises: `BucketUnavailable`, `BucketRefused`.
        """
        for folder in self._clips.glob(f"{job_id}-*"):
            shutil.rmtree(folder, ignore_errors=True)
        self.discard_copies({job_id})
        if self.clips_in_bucket is not None:
            self.clips_in_bucket.delete_job(job_id)
        if self.live_in_bucket is not None:
            self.live_in_bucket.delete_job(job_id)

    def discard_copies(self, job_ids: Collection[str]) -> None:
        """Delete this machine's conversions, live audio and waiting clips of jobs. Blocks."""
        for folder in (self._converted, self._growing):
            for path in folder.glob("[!.]*"):
                if path.name.partition("-")[0] in job_ids:
                    path.unlink(missing_ok=True)
        if self._spool is not None and self.clips_in_bucket is not None:
            read_job = self.clips_in_bucket.read_job
            self._spool.discard(lambda target: read_job(target.key) in job_ids)

    def delete_abandoned(self, running: Collection[str]) -> None:
        """Delete what killed workers left, and conversions that nobody uses. Blocks.

        `running`: names of the runs in progress. Raises: `BucketUnavailable`, `BucketRefused`.
        """
        for folder in (self._growing, self._converted):
            delete_old_files(folder, _ABANDONED_SECONDS)
        for unfinished in (".*.tmp", "*/.*.tmp"):
            delete_old_files(self._clips, _ABANDONED_SECONDS, unfinished)
        if self.live_in_bucket is not None:
            self.live_in_bucket.delete_abandoned(running)

    def convert_clip(self, stored: StoredClip, extension: str) -> Path:
        """Convert a clip to another format, unless this was done lately, and return the new file.

        Takes seconds for a long clip, so it needs a thread.

        Raises: `NotFound` for a deleted clip, `DiskFull`, `NotWritable`, `BucketUnavailable`,
        `BucketRefused`; `MissingDependency` for MIDI without its packages; `GenerationError` for a
        signature that fails.
        """
        if extension == EXTENSION:
            check_installed()
        signer = self._signer if self._signer and self._signer.can_sign(extension) else None

        def make(folder: Path) -> Path:
            source = self._fetch(stored, folder / "source")
            target = folder / f"target.{extension}"
            is_mixed = stored.continues_a_sound
            target.write_bytes(convert(source, extension, signer, has_other_beginning=is_mixed))
            return target

        with hide_disk_errors(self._converted, "a conversion"):
            name = f"{stored.name}-signed" if signer else stored.name
            return self._cache.get_or_make(f"{name}.{extension}", make)

    def _fetch(self, stored: StoredClip, copy: Path) -> Path:
        """Return the file of a clip, at `copy` if it comes from the bucket."""
        if is_bucket_address(stored.address):
            if self.clips_in_bucket is None:
                raise NotFound(NO_BUCKET)
            self.clips_in_bucket.download(stored.run_name, stored.address, copy)
            return copy
        path = self.get_stored_path(stored)
        if not path.exists():
            raise NotFound(CLIP_DELETED)
        return path


def count_clips(fields: Mapping[str, Any]) -> int:
    """Return the number of clips of a validated request."""
    return len(fields.get("prompts") or [""]) * int(fields.get("variations") or 1)
