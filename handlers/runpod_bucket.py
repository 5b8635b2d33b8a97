"""The bucket that a RunPod job brings along: `s3Config`, beside its `input`."""

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


def bucket_of(given: object, own: BucketSettings) -> BucketSettings:
    """The bucket of `given`, the `s3Config` of a job; `own`, the operator's, when there is none.

    Of `own` a job's bucket takes the prefix, the life of the addresses and the deadline.
    `endpointUrl` left out is AWS; it may contain the bucket, as RunPod's documentation shows it.

    Raises: `InvalidRequest` naming the field; no secret is part of its text.
    """
    if given is None or given == {}:
        return own
    if not isinstance(given, Mapping):
        raise InvalidRequest(
            FIELD,
            type(given).__name__,
            "an object: accessId, accessSecret, bucketName, endpointUrl",
        )
    name = _bucket_name(given)
    key, secret = _hidden(given, "accessId"), _hidden(given, "accessSecret")
    endpoint = _endpoint(given.get("endpointUrl"))
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


def _bucket_name(given: Mapping[str, Any]) -> str:
    value = given.get("bucketName")
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidRequest(f"{FIELD}.bucketName", value, "the name of a bucket")
    return value


def _hidden(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        shown = None if value is None else "(not shown)"
        raise InvalidRequest(f"{FIELD}.{name}", shown, "a text, as the bucket's provider gives it")
    return value


def _endpoint(value: object) -> str | None:
    if value is None:
        return None
    parts = _address(value)
    if parts is None:
        # Not shown: an address may carry a password.
        allowed = "an http(s) address without a user name, such as https://s3.example.com"
        raise InvalidRequest(f"{FIELD}.endpointUrl", "(not shown)", allowed)
    return urlunsplit(parts)


def _address(value: object) -> SplitResult | None:
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
