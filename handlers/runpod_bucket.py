"""The bucket of a RunPod job: `s3Config`, beside its `input`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from musicgen.errors import InvalidRequest
from musicgen.settings import BucketSettings

FIELD = "s3Config"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"(?:^|\.)s3[.-]([a-z]{2}(?:-[a-z]+)+-\d+)\.")


def read_bucket(config: object, own: BucketSettings) -> BucketSettings | None:
    """Return the bucket of `config`, a job's `s3Config`, or None for a job without one.

    It has the prefix, the URL lifetime and the deadline of `own`, the operator's bucket, and
    nothing else of it. Without `endpointUrl` it is AWS. The URL may contain the bucket, as in
    RunPod's documentation.

    Raises: `InvalidRequest` naming the field, without secrets in its text.
    """
    if config is None or config == {}:
        return None
    if not isinstance(config, Mapping):
        # Not shown: it may hold a secret.
        raise InvalidRequest(
            FIELD, "must be an object with accessId, accessSecret, bucketName and endpointUrl"
        )
    name = _read_name(config)
    key, secret = _read_secret(config, "accessId"), _read_secret(config, "accessSecret")
    endpoint = _read_endpoint(config.get("endpointUrl"))
    region = _REGION.search(urlsplit(endpoint or "").hostname or "")
    return BucketSettings(
        name=name,
        endpoint_url=endpoint,
        region=region[1] if region else None,
        prefix=own.prefix,
        url_seconds=own.url_seconds,
        deadline=own.deadline,
        access_key_id=key,
        secret_access_key=secret,
    )


def _read_name(config: Mapping[str, Any]) -> str:
    value = config.get("bucketName")
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidRequest(f"{FIELD}.bucketName", "must be the name of a bucket", value=value)
    return value


def _read_secret(config: Mapping[str, Any], name: str) -> str:
    value = config.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        problem = "is missing" if value is None else "must be the text from the bucket's provider"
        raise InvalidRequest(f"{FIELD}.{name}", problem)
    return value


def _read_endpoint(value: object) -> str | None:
    if value is None:
        return None
    parts = _split_url(value)
    if parts is None:
        # Not shown: a URL may contain a password.
        problem = "must be an http(s) URL without a user name, such as https://s3.example.com"
        raise InvalidRequest(f"{FIELD}.endpointUrl", problem)
    return urlunsplit(parts)


def _split_url(value: object) -> SplitResult | None:
    if not isinstance(value, str) or not value.isprintable():
        return None
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    if not known or "@" in parts.netloc or parts.query or parts.fragment or " " in value:
        return None
    return parts
