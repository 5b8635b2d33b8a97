"""Settings of the bucket for clips. Imports no torch."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from musicgen.errors import SettingsError
from musicgen.settings.declaration import check_settings, check_url, read_variables, setting

DELIVERIES = ("proxy", "redirect")
URL_SECONDS_MAX = 7 * 24 * 3600
"""Longest validity of a URL signed with SigV4."""


@dataclass(frozen=True)
class BucketSettings:
    """Bucket of an S3-compatible service. With `name` None, no bucket is used."""

    name: str | None = setting(
        "MUSICGEN_BUCKET", "text", help="Name of the bucket. Unset: clips go to no bucket."
    )
    endpoint_url: str | None = setting(
        "MUSICGEN_BUCKET_ENDPOINT_URL",
        "text",
        unset="AWS",
        form="a URL",
        help="URL of the S3-compatible service, without user name and password.",
    )
    public_endpoint_url: str | None = setting(
        "MUSICGEN_BUCKET_PUBLIC_ENDPOINT_URL",
        "text",
        unset="MUSICGEN_BUCKET_ENDPOINT_URL",
        form="a URL",
        help="URL of the same service for callers, if they cannot reach "
        "MUSICGEN_BUCKET_ENDPOINT_URL. Presigned URLs are made for it.",
    )
    delivery: str = setting(
        "MUSICGEN_BUCKET_DELIVERY",
        "text",
        "proxy",
        choices=DELIVERIES,
        help="Way of a clip from the bucket to a caller of the job API. `proxy` sends it through "
        "the API. `redirect` sends the caller to the bucket, which then needs a CORS rule for the "
        "web page.",
    )
    region: str | None = setting(
        "MUSICGEN_BUCKET_REGION",
        "text",
        unset="that of AWS's standard chain, else us-east-1",
        help="Region of the bucket.",
    )
    prefix: str = setting(
        "MUSICGEN_BUCKET_PREFIX",
        "text",
        "musicgen",
        help="Beginning of every key: `PREFIX/JOB/clip.wav`.",
    )
    addressing: str = setting(
        "MUSICGEN_BUCKET_ADDRESSING",
        "text",
        "auto",
        choices=("auto", "path", "virtual"),
        help="Place of the bucket's name in a URL: `path` or host (`virtual`). `auto` is `virtual` "
        "on AWS and `path` elsewhere.",
    )
    encryption: str = setting(
        "MUSICGEN_BUCKET_ENCRYPTION",
        "text",
        "none",
        choices=("none", "AES256", "aws:kms"),
        help="Server-side encryption of every clip. `none` leaves it to the bucket's default.",
    )
    kms_key: str | None = setting(
        "MUSICGEN_BUCKET_KMS_KEY",
        "text",
        unset="AWS's own key",
        help="Id or ARN of the key for `aws:kms`.",
    )
    storage_class: str | None = setting(
        "MUSICGEN_BUCKET_STORAGE_CLASS",
        "text",
        unset="the bucket's default",
        help="Storage class of every clip, such as `STANDARD_IA`.",
    )
    tags: str | None = setting(
        "MUSICGEN_BUCKET_TAGS",
        "text",
        form="NAME=VALUE&NAME=VALUE, at most 10 pairs",
        help="Tags of every clip.",
    )
    url_seconds: int = setting(
        "MUSICGEN_BUCKET_URL_SECONDS",
        "integer",
        24 * 3600,
        least=1,
        most=URL_SECONDS_MAX,
        unit="seconds",
        help="Validity of a presigned URL, in seconds. The default is one day, the limit a week.",
    )
    public_url: str | None = setting(
        "MUSICGEN_BUCKET_PUBLIC_URL",
        "text",
        unset="presigned URLs",
        form="a URL",
        help="Base URL of a public bucket or a CDN in front of it. Replaces presigned URLs.",
    )
    deadline: float = setting(
        "MUSICGEN_BUCKET_DEADLINE",
        "number",
        120.0,
        least=1,
        most=24 * 3600,
        unit="seconds",
        help="Longest time for the upload of one job's clips, in seconds, retries included.",
    )
    access_key_id: str | None = setting(
        "MUSICGEN_BUCKET_ACCESS_KEY_ID",
        "text",
        is_secret=True,
        unset="AWS's standard chain: environment, profile, instance role",
        help="Access key of the bucket. Needs MUSICGEN_BUCKET_SECRET_ACCESS_KEY.",
    )
    secret_access_key: str | None = setting(
        "MUSICGEN_BUCKET_SECRET_ACCESS_KEY",
        "text",
        is_secret=True,
        unset="AWS's standard chain",
        help="Secret of the access key. Needs MUSICGEN_BUCKET_ACCESS_KEY_ID.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        check_url("MUSICGEN_BUCKET_ENDPOINT_URL", self.endpoint_url)
        check_url("MUSICGEN_BUCKET_PUBLIC_ENDPOINT_URL", self.public_endpoint_url)
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise SettingsError(
                "MUSICGEN_BUCKET_ACCESS_KEY_ID",
                "and MUSICGEN_BUCKET_SECRET_ACCESS_KEY must be set together",
                advice="Set both or neither.",
            )

    @property
    def key_prefix(self) -> str:
        """Beginning of every key, with a slash at its end, or empty."""
        prefix = self.prefix.strip("/")
        return f"{prefix}/" if prefix else ""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> BucketSettings:
        """Read the settings. Raises: `SettingsError` with the name of the variable."""
        return cls(**read_variables(cls, os.environ if env is None else env))


@dataclass(frozen=True)
class Delivery:
    """Destination of one request's clips: a bucket, or with None the answer itself.

    `is_callers`: the caller brought the bucket, its address and its key. `inline_bytes`: limit of
    all clips in the answer, None for the usual one. `until`: end of the upload to the bucket, a
    time of `time.monotonic`; None for the bucket's own deadline alone. `cancelled`, once set, ends
    that upload too.
    """

    bucket: BucketSettings | None
    is_callers: bool = False
    inline_bytes: int | None = None
    until: float | None = None
    cancelled: threading.Event | None = None
