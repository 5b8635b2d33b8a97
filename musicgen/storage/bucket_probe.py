"""Test of a bucket: write, read, list and delete a small object, and compare the clocks."""

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
    check_credentials,
    open_client,
    read_code,
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
    """Bucket that takes clips. `place`: its name and endpoint. `lacks`: faults beside that."""

    place: str
    lacks: tuple[str, ...]


def probe_bucket(bucket: BucketSettings) -> BucketFacts:
    """Write, read, list and delete an object of a few bytes below the prefix of the clips.

    Raises: `BucketRefused` for a permanent fault, `UploadFailed` for a passing one,
    `MissingDependency`.
    """
    client = open_client(replace(bucket, deadline=min(PROBE_SECONDS, bucket.deadline)))
    key = f"{bucket.key_prefix}.probe-{uuid4().hex}"
    target = UploadTarget.build(bucket, key, "text/plain", "inline")
    place = f"{target.bucket} at {target.endpoint_url or 'AWS'}"
    check_credentials(client, target.bucket)
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
        lacks.append(f"reading fails ({read_code(error)}): callers cannot fetch their clips")
    try:
        client.list_objects_v2(Bucket=target.bucket, Prefix=target.key, MaxKeys=1)
    except Exception as error:
        lacks.append(f"listing fails ({read_code(error)}): expired clips stay for ever")
    try:
        client.delete_object(Bucket=target.bucket, Key=target.key)
    except Exception as error:
        lacks.append(f"deleting fails ({read_code(error)}): old clips stay for ever")
    return BucketFacts(place, tuple(lacks))


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


def _compare_clocks(answer: Any) -> list[str]:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if date is None:
        return []
    skew = time.time() - parsedate_to_datetime(date).timestamp()
    if abs(skew) < SKEW_SECONDS:
        return []
    return [f"this machine's clock differs by {skew:.0f} s: set it, or signatures are refused"]
