"""The probe of a bucket writes, reads and deletes a real object, and names what is missing."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from musicgen.errors import BucketRefused, UploadFailed
from musicgen.settings import BucketSettings
from musicgen.storage.bucket_probe import probe_bucket
from tests.support.odd_bucket import odd_bucket
from tests.support.recording_server import record
from tests.support.s3_server import s3_server
from tests.support.seaweedfs import APP, BUCKET, seaweedfs


def _settings(url: str) -> BucketSettings:
    return BucketSettings("music", url, access_key_id="id", secret_access_key="secret")


def test_a_bucket_is_left_as_it_was() -> None:
    with s3_server() as bucket:
        settings = BucketSettings.from_env({**os.environ, **bucket.env})
        assert probe_bucket(settings).lacks == ()
        assert bucket.keys() == []
        with pytest.raises(BucketRefused, match="the bucket does not exist"):
            probe_bucket(replace(settings, name="other"))


def test_a_region_named_by_the_server_is_the_advice() -> None:
    code = "AuthorizationHeaderMalformed"
    with (
        odd_bucket("PUT", code, region="eu-central-1") as url,
        pytest.raises(BucketRefused, match="Set MUSICGEN_BUCKET_REGION=eu-central-1"),
    ):
        probe_bucket(_settings(url))


@pytest.mark.parametrize("status", ["301", "302", "307"])
def test_an_endpoint_that_redirects_is_asked_once(status: str) -> None:
    """A proxy often redirects http to https. boto3 asked 82 times, until RecursionError."""
    with record() as server:
        server.mode, server.location = status, "https://storage.example"
        with pytest.raises(BucketRefused, match="the address it redirects to"):
            probe_bucket(_settings(server.url))
    assert len(server.requests) == 1


def test_a_wrong_clock_is_named() -> None:
    with odd_bucket(clock=time.time() - 3600) as url:
        (lack,) = probe_bucket(_settings(url)).lacks
        assert "clock differs by 3600 s" in lack or "clock differs by 3601 s" in lack
    with (
        odd_bucket("PUT", "RequestTimeTooSkewed") as url,
        pytest.raises(BucketRefused, match="set the clock"),
    ):
        probe_bucket(_settings(url))


@pytest.mark.parametrize(
    ("method", "says"),
    [("GET", "reading fails"), ("LIST", "listing fails"), ("DELETE", "deleting")],
)
def test_rights_beyond_writing_are_a_warning(method: str, says: str) -> None:
    """A key may be allowed to write only, and clips are still stored."""
    with odd_bucket(method) as url:
        (lack,) = probe_bucket(_settings(url)).lacks
        assert says in lack and "(AccessDenied)" in lack


def test_nobody_at_the_address_may_pass() -> None:
    with pytest.raises(UploadFailed):
        probe_bucket(_settings("http://127.0.0.1:1"))


@pytest.mark.slow
def test_a_server_that_checks_signatures_refuses_wrong_keys(tmp_path: Path) -> None:
    with seaweedfs(tmp_path) as server:
        settings = BucketSettings(
            BUCKET, server.url, access_key_id=APP[0], secret_access_key=APP[1]
        )
        assert probe_bucket(settings).lacks == ()
        for change, says in (
            ({"access_key_id": "unknown"}, "the access key id is unknown"),
            ({"secret_access_key": "wrong"}, "the secret does not belong to the access key id"),
            ({"name": "another"}, "AccessDenied|the bucket does not exist"),
        ):
            with pytest.raises(BucketRefused, match=says):
                probe_bucket(replace(settings, **change))
