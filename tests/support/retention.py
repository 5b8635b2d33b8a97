"""Maintenance of a job API whose files are in a bucket, run once and at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from handlers.job_api.store import live_audio, retention
from handlers.job_api.store.database import Pool, open_pool
from handlers.job_api.store.files import JobFiles
from musicgen.settings import BucketSettings
from musicgen.storage.objects import BucketObjects
from tests.support.bucket_settings import bucket_settings
from tests.support.seaweedfs import SeaweedFS

HOURS = 100.0


def delete_expired(database: str, folder: Path, bucket: SeaweedFS) -> None:
    """Delete jobs and uploads older than `HOURS`."""
    _run(
        database,
        folder,
        bucket,
        lambda pool, files: retention.delete_expired(pool, files, HOURS, HOURS),
    )


def delete_abandoned(
    database: str, folder: Path, bucket: SeaweedFS, *, after_seconds: float
) -> None:
    """Delete what killed processes left, `after_seconds` after its last write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_audio, "ABANDONED_SECONDS", after_seconds)
        _run(
            database,
            folder,
            bucket,
            retention.delete_abandoned,
        )


def _run(
    database: str,
    folder: Path,
    bucket: SeaweedFS,
    work: Callable[[Pool, JobFiles], Awaitable[None]],
) -> None:
    env = {name: str(value) for name, value in bucket_settings(bucket).items()}
    files = JobFiles(folder, BucketObjects(BucketSettings.from_env(env)))

    async def run() -> None:
        async with open_pool(database) as pool:
            await work(pool, files)

    asyncio.run(run())
