"""Storage for the settings. Imports boto3 only for a bucket."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.settings import BucketSettings, Settings
from musicgen.storage.base import Storage
from musicgen.storage.local import LocalStorage

if TYPE_CHECKING:
    from musicgen.storage.s3 import S3Storage

CLIENTS_KEPT = 16
"""Number of buckets with an open client. Opening a client takes longer than a small upload."""

logger = logging.getLogger(__name__)


def open_storage(settings: Settings) -> Storage:
    """Open the configured bucket, or the data folder, and log the choice.

    Raises: `MissingDependency`, `SettingsError`, `BucketRefused`.
    """
    if settings.bucket.name is None:
        folder = settings.data_dir.absolute()
        logger.info("clips go to the folder %s: MUSICGEN_BUCKET is not set", folder)
        return LocalStorage(settings.data_dir)
    logger.info("clips go to the bucket %s", settings.bucket.name)
    return open_bucket(settings.bucket, settings.spool_dir)


def count_waiting_clips(spool_dir: Path) -> int:
    """Return the number of clips waiting for upload to a bucket."""
    from musicgen.storage.spool import Spool

    return len(Spool(spool_dir).list_waiting())


@lru_cache(CLIENTS_KEPT)
def open_bucket(bucket: BucketSettings, spool_dir: Path) -> S3Storage:
    """Open a bucket, and log a warning about clips still in its spool.

    Raises: `MissingDependency`, `SettingsError`, `BucketRefused`.
    """
    from musicgen.storage.s3 import RETRY_COMMAND, S3Storage
    from musicgen.storage.spool import Spool

    spool = Spool(spool_dir)
    spool.sweep()
    if waiting := len(spool.list_waiting()):
        logger.warning(
            "%d clips in %s are not yet uploaded: run `%s`", waiting, spool_dir, RETRY_COMMAND
        )
    return S3Storage(bucket, spool)
