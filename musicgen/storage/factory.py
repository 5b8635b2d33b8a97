"""Storage for the settings. Imports boto3 only for a bucket."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.errors import MissingDependency
from musicgen.errors.counts import format_count
from musicgen.settings import BucketSettings, Delivery, Settings
from musicgen.storage.base import Storage
from musicgen.storage.inline import INLINE_MAX_BYTES, InlineStorage
from musicgen.storage.local import LocalStorage

if TYPE_CHECKING:
    from musicgen.storage.s3 import S3Storage

CLIENTS_KEPT = 16
"""Number of buckets with an open client. Opening a client takes longer than a small upload."""

logger = logging.getLogger(__name__)


def open_storage(settings: Settings, *, are_in_answers: bool = False) -> Storage:
    """Open the configured bucket, or else the data folder or the answers, and log the choice.

    `are_in_answers`: without a bucket, clips are parts of the answers.
    Raises: `MissingDependency`, `SettingsError`, `BucketRefused`.
    """
    if settings.bucket.name is None:
        sweep_spool(settings.bucket, settings.spool_dir)
        if are_in_answers:
            logger.info("clips go into the answers: MUSICGEN_BUCKET is not set")
            return InlineStorage()
        folder = settings.data_dir.absolute()
        logger.info("clips go to the folder %s: MUSICGEN_BUCKET is not set", folder)
        return LocalStorage(settings.data_dir)
    logger.info("clips go to the bucket %s", settings.bucket.name)
    return open_bucket(settings.bucket, settings.spool_dir)


def open_delivery(delivery: Delivery, settings: Settings) -> Storage:
    """Open the storage of one request's clips.

    Raises: `MissingDependency`, `SettingsError`, `BucketRefused`, `InvalidRequest`.
    """
    if delivery.bucket is None:
        return InlineStorage(delivery.inline_bytes or INLINE_MAX_BYTES)
    bucket: S3Storage
    if delivery.is_callers:
        bucket = open_callers_bucket(delivery.bucket, settings)
    else:
        bucket = open_bucket(delivery.bucket, settings.spool_dir)
    return bucket.limit_to(delivery.until, delivery.cancelled)


def count_waiting_clips(spool_dir: Path) -> int:
    """Return the number of clips waiting for upload to a bucket."""
    from musicgen.storage.spool import Spool

    return len(Spool(spool_dir).list_waiting())


def open_callers_bucket(bucket: BucketSettings, settings: Settings) -> S3Storage:
    """Open the bucket a caller brought, for one job; nothing of it is kept.

    Raises: `MissingDependency`, `InvalidRequest`.
    """
    try:
        from musicgen.storage.callers_bucket import CallersBucket
    except ImportError:
        raise MissingDependency("boto3", "a bucket", "s3") from None
    from musicgen.storage.spool import Spool

    return CallersBucket(bucket, Spool(settings.spool_dir), settings.bucket_networks)


def sweep_spool(bucket: BucketSettings, spool_dir: Path) -> None:
    """Delete unfinished clips, and old clips addressed to another bucket than the configured one.

    The operator's key goes to no other bucket, so nothing can send these.
    """
    if not spool_dir.is_dir() or not any(spool_dir.iterdir()):
        return
    from musicgen.storage.s3_client import is_addressed_to
    from musicgen.storage.spool import STRAY_SECONDS, Spool

    spool = Spool(spool_dir)
    spool.sweep()
    days = format_count(STRAY_SECONDS / 86400, "day")
    if swept := spool.sweep_strays(lambda target: is_addressed_to(target, bucket)):
        logger.warning(
            "deleted %s in %s for another bucket than MUSICGEN_BUCKET, older than %s",
            format_count(swept, "clip"),
            spool_dir,
            days,
        )
    if strays := spool.list_strays(lambda target: is_addressed_to(target, bucket)):
        logger.warning(
            "%s in %s for another bucket than MUSICGEN_BUCKET: never sent, and deleted at a start "
            "after %s",
            format_count(len(strays), "clip"),
            spool_dir,
            days,
        )


@lru_cache(CLIENTS_KEPT)
def open_bucket(bucket: BucketSettings, spool_dir: Path) -> S3Storage:
    """Open the operator's bucket, and log a warning about clips still in its spool.

    Raises: `MissingDependency`, `SettingsError`, `BucketRefused`.
    """
    from musicgen.storage.s3 import RETRY_COMMAND, S3Storage
    from musicgen.storage.spool import Spool

    sweep_spool(bucket, spool_dir)
    spool = Spool(spool_dir)
    if waiting := len(spool.list_waiting()):
        logger.warning(
            "%s in %s not yet uploaded: run `%s`",
            *(format_count(waiting, "clip"), spool_dir, RETRY_COMMAND),
        )
    return S3Storage(bucket, spool)
