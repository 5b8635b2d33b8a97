"""`s3Config`: the bucket of a RunPod job."""

from __future__ import annotations

import asyncio

import pytest

from handlers.runpod_bucket import read_bucket
from handlers.runpod_job import RunPodJobs
from musicgen.predictor import Predictor
from musicgen.settings import BucketSettings, Settings
from tests.support.runpod_jobs import make_job

SETTINGS = Settings(threads=1)
S3_CONFIG = {
    "accessId": "AKIDJOB",
    "accessSecret": "hush-hush",
    "bucketName": "music-out",
    "endpointUrl": "https://s3.example.com",
}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(SETTINGS)


@pytest.fixture
def jobs(predictor: Predictor) -> RunPodJobs:
    return RunPodJobs(predictor, SETTINGS)


def test_a_job_without_a_bucket_uses_the_operators() -> None:
    own = BucketSettings(name="operators")
    assert read_bucket(None, own) is None
    assert read_bucket({}, own) is None


def test_the_bucket_of_a_job_shares_only_the_operators_habits() -> None:
    own = BucketSettings(
        name="operators",
        prefix="songs",
        url_seconds=60,
        deadline=30.0,
        public_url="https://cdn.example.com",
        kms_key="key",
        encryption="aws:kms",
        access_key_id="own",
        secret_access_key="own",
    )
    assert read_bucket(S3_CONFIG, own) == BucketSettings(
        name="music-out",
        endpoint_url="https://s3.example.com",
        prefix="songs",
        url_seconds=60,
        deadline=30.0,
        access_key_id="AKIDJOB",
        secret_access_key="hush-hush",
    )


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://s3.us-west-2.amazonaws.com", "us-west-2"),
        ("https://music-out.s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ("https://s3.us-west-004.backblazeb2.com", "us-west-004"),
        ("https://s3.amazonaws.com", None),
        ("http://127.0.0.1:9000", None),
        (None, None),
    ],
)
def test_the_region_is_the_one_that_the_address_names(url: str | None, region: str | None) -> None:
    """A signature for another region is refused."""
    bucket = read_bucket(S3_CONFIG | {"endpointUrl": url}, BucketSettings())
    assert (bucket.endpoint_url, bucket.region) == (url, region)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accessId", None),
        ("accessId", 5),
        ("accessSecret", ""),
        ("accessSecret", "hush\nhush"),
        ("bucketName", None),
        ("bucketName", "../other"),
        ("bucketName", "a"),
        ("endpointUrl", "s3.example.com"),
        ("endpointUrl", "file:///etc"),
        ("endpointUrl", "https://user:hush-hush@s3.example.com"),
        ("endpointUrl", "http://[::1"),
        ("endpointUrl", "http://s3.example.com:99999"),
        ("endpointUrl", "http://s3.example.com/?x=y"),
        ("endpointUrl", 5),
    ],
)
def test_what_is_wrong_with_s3config_is_named_without_its_secrets(
    jobs: RunPodJobs, field: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    job = {**make_job(), "s3Config": S3_CONFIG | {field: value}}
    answer = asyncio.run(jobs.handle(job))
    assert answer["error"].startswith(f"invalid_request: s3Config.{field} ")
    assert "hush" not in answer["error"] + caplog.text


def test_an_s3config_that_is_no_object_is_named(jobs: RunPodJobs) -> None:
    answer = asyncio.run(jobs.handle({**make_job(), "s3Config": "hush-hush"}))
    assert answer["error"].startswith("invalid_request: s3Config must be an object")
    assert "hush" not in answer["error"]
