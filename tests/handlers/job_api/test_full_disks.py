"""Every file that the job API writes meets a full disk with a documented error.

`test_outages` has uploads, conversions and jobs on a whole server.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest

from handlers.job_api.api.live_copies import _LiveCopy
from handlers.job_api.store.upload_storage import BucketUploads
from musicgen.errors import DiskFull
from musicgen.settings import BucketSettings
from musicgen.storage.objects import BucketObjects
from tests.support.disks import full_disk, small_disk, tree
from tests.support.s3_server import s3_server

BLOCK = os.urandom(300_000)


def test_a_copy_of_live_audio_meets_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short write left listeners in an endless loop of empty reads."""

    async def work() -> bytes:
        copy, heard = _LiveCopy(), b""
        try:
            while True:
                await copy.append(BLOCK)
        except DiskFull as error:
            assert error.is_for_callers and str(tmp_path) not in str(error)
            copy.error = error
            await copy.end()
        with pytest.raises(DiskFull):
            async for block in copy.read():
                assert block
                heard += block
        await copy.close()
        return heard

    with small_disk(tmp_path / "disk", 1) as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        assert asyncio.run(work()) == BLOCK * 3
        with full_disk(disk), pytest.raises(DiskFull):
            asyncio.run(_append_once())


def test_a_listener_waits_for_a_segment_that_is_half_written() -> None:
    """A reader that met the bytes of a segment before its size took the clip for finished."""

    async def work() -> bytes:
        copy, heard = _LiveCopy(), b""
        await copy.append(b"a" * 100)
        os.pwrite(copy._file.fileno(), b"b" * 50, 100)
        reader = copy.read()
        heard += await anext(reader)
        rest = asyncio.create_task(anext(reader))
        await asyncio.sleep(0.05)
        await copy.append(b"b" * 100)
        heard += await rest
        await copy.end()
        heard += b"".join([block async for block in reader])
        await copy.close()
        return heard

    assert asyncio.run(work()) == b"a" * 100 + b"b" * 100


async def _append_once() -> None:
    copy = _LiveCopy()
    try:
        await copy.append(BLOCK)
    finally:
        await copy.close()


def test_the_copy_of_an_upload_in_the_bucket_meets_a_full_disk(tmp_path: Path) -> None:
    """A worker for remote jobs failed such a job with internal_error."""
    with s3_server() as bucket, small_disk(tmp_path / "disk", 1) as disk:
        uploads = BucketUploads(BucketObjects(BucketSettings.from_env(bucket.env)), disk / "new")
        sound = tmp_path / "sound"
        sound.write_bytes(BLOCK)
        uploads.save("one", sound)
        with full_disk(disk), pytest.raises(DiskFull), uploads.open("one"):
            pass
        assert tree(disk) in ([], ["new"])
        with uploads.open("one") as path:
            assert path is not None and path.read_bytes() == BLOCK
