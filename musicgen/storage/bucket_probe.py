"""Is a bucket fit for clips: write, read, list and delete a small object, compare the clocks."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import uuid4

from musicgen.errors import BucketRefused, StorageError, UploadFailed
from musicgen.settings import BucketSettings
from musicgen.storage.s3_client import (
    has_credentials,
    open_client,
    translate_client_error,
    upload_once,
)
from musicgen.storage.spool import UploadTarget

PROBE_SECONDS = 2.0
"""Longest wait for a connection, and for an answer."""
SKEW_SECONDS = 300
"""Difference of the clocks worth a warning. AWS refuses signatures older than 15 minutes."""


@dataclass(frozen=True)
class BucketFacts:
    """A bucket that takes clips. `place`: its name and endpoint. `lacks`: what else is missing."""

    place: str
    lacks: tuple[str, ...]


def probe_bucket(bucket: BucketSettings) -> BucketFacts:
    """Write, read, list and delete an object of a few bytes below the prefix of the clips.

    Raises: `BucketRefused` for a permanent fault, `UploadFailed` for a passing one,
    `MissingDependency`.
    """
    client = open_client(replace(bucket, deadline=min(PROBE_SECONDS, bucket.deadline)))
    target = _build_target(bucket)
    place = f"{target.bucket} at {target.endpoint_url or 'AWS'}"
    if not has_credentials(client):
        raise BucketRefused(
            f"no credentials for bucket {target.bucket!r}. Set MUSICGEN_BUCKET_ACCESS_KEY_ID and "
            "MUSICGEN_BUCKET_SECRET_ACCESS_KEY, or use AWS's standard chain."
        )
    try:
        upload_once(client, target, io.BytesIO(b"probe"))
    except Exception as error:
        raise _translate(error, target) from None
    lacks = []
    try:
        answer = client.get_object(Bucket=target.bucket, Key=target.key)
        answer["Body"].read()
        lacks += _compare_clocks(answer)
    except Exception as error:
        lacks.append(f"reading fails ({_name(error)}): callers cannot fetch their clips")
    try:
        client.list_objects_v2(Bucket=target.bucket, Prefix=target.key, MaxKeys=1)
    except Exception as error:
        lacks.append(f"listing fails ({_name(error)}): expired clips stay for ever")
    try:
        client.delete_object(Bucket=target.bucket, Key=target.key)
    except Exception as error:
        lacks.append(f"deleting fails ({_name(error)}): old clips stay for ever")
    return BucketFacts(place, tuple(lacks))


def _build_target(bucket: BucketSettings) -> UploadTarget:
    prefix = bucket.prefix.strip("/")
    return UploadTarget(
        bucket=bucket.name or "",
        key=f"{prefix}{'/' if prefix else ''}.probe-{uuid4().hex}",
        content_type="text/plain",
        disposition="inline",
        endpoint_url=bucket.endpoint_url,
        region=bucket.region,
        encryption=bucket.encryption,
        kms_key=bucket.kms_key,
        storage_class=bucket.storage_class,
        tags=bucket.tags,
    )


def _translate(error: Exception, target: UploadTarget) -> StorageError:
    """Return the error for the operator, with the right region where the server names it."""
    translated = translate_client_error(error, target)
    response: Any = getattr(error, "response", None)
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}) if response else {}
    region = headers.get("x-amz-bucket-region")
    if region and region != target.region and isinstance(translated, BucketRefused):
        return BucketRefused(
            f"bucket {target.bucket!r} is in region {region} (was {target.region or 'unset'}). "
            f"Set MUSICGEN_BUCKET_REGION={region}."
        )
    if isinstance(translated, UploadFailed):
        advice = "Check MUSICGEN_BUCKET_ENDPOINT_URL, the network and the service."
        return UploadFailed(f"{translated} {advice}")
    return translated


def _name(error: Exception) -> str:
    """Return the code of the server's error, or the name of another one."""
    response: Any = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", type(error).__name__))


def _compare_clocks(answer: Any) -> list[str]:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if date is None:
        return []
    skew = time.time() - parsedate_to_datetime(date).timestamp()
    if abs(skew) < SKEW_SECONDS:
        return []
    return [f"this machine's clock differs by {skew:.0f} s: set it, or signatures are refused"]
