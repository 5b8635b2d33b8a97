"""Which storage the settings ask for. boto3 is imported only for a bucket."""

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
"""Buckets that requests bring with them: making a client takes longer than a small upload."""

logger = logging.getLogger(__name__)


def open_storage(settings: Settings) -> Storage:
    """The bucket that is configured, or the data folder, and says which.

    Raises: `MissingDependency`, `SettingsError`, `BucketRefused`.
    """
    if settings.bucket.name is None:
        folder = settings.data_dir.absolute()
        logger.info("no bucket is configured (MUSICGEN_BUCKET): clips go to the folder %s", folder)
        return LocalStorage(settings.data_dir)
    logger.info("clips go to bucket %s", settings.bucket.name)
    return open_bucket(settings.bucket, settings.spool_dir)


def clips_waiting(spool_dir: Path) -> int:
    """How many clips wait there for a bucket."""
    from musicgen.storage.spool import Spool

    return len(Spool(spool_dir).waiting())


@lru_cache(CLIENTS_KEPT)
def open_bucket(bucket: BucketSettings, spool_dir: Path) -> S3Storage:
    """Raises: `MissingDependency`, `SettingsError`, `BucketRefused`."""
    from musicgen.storage.s3 import RETRY_COMMAND, S3Storage
    from musicgen.storage.spool import Spool

    spool = Spool(spool_dir)
    spool.sweep()
    if waiting := len(spool.waiting()):
        logger.warning(
            "%d clips wait in %s for their bucket: send them with `%s`",
            waiting,
            spool_dir,
            RETRY_COMMAND,
        )
    return S3Storage(bucket, spool)
