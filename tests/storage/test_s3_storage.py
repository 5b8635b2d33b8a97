"""What is asked of a bucket: keys, headers, encryption, addresses and retries, against moto."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from musicgen.errors import BucketRefused, SettingsError, StorageError
from musicgen.settings import BucketSettings, Settings
from musicgen.storage.base import ClipFile, ClipName
from musicgen.storage.factory import open_storage
from musicgen.storage.local import LocalStorage
from musicgen.storage.s3 import S3Storage, build_key
from musicgen.storage.s3_address import ObjectAddresses
from musicgen.storage.s3_client import is_transient, open_client, strip_bucket
from musicgen.storage.spool import Spool
from tests.support import ROOT

ONE = ClipName("job", 0, 1, "wav")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def client(url: str) -> Any:
    made = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="id",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    made.create_bucket(Bucket="music")
    return made


@pytest.fixture
def bucket(url: str, client: Any) -> BucketSettings:
    return BucketSettings(
        name="music", endpoint_url=url, access_key_id="id", secret_access_key="secret", deadline=10
    )


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def _put(bucket: BucketSettings, spool: Spool, name: ClipName = ONE, data: bytes = b"x") -> str:
    return S3Storage(bucket, spool).put_all([ClipFile(name, [data], "audio/wav")])[0]


def test_the_same_job_replaces_its_own_clip(
    bucket: BucketSettings, spool: Spool, client: Any
) -> None:
    for data in (b"first", b"second"):
        _put(bucket, spool, ClipName("again", 0, 1, "wav"), data)
    listed = client.list_objects_v2(Bucket="music", Prefix="musicgen/again/")["Contents"]
    assert [each["Key"] for each in listed] == ["musicgen/again/clip.wav"]
    body = client.get_object(Bucket="music", Key="musicgen/again/clip.wav")["Body"]
    assert body.read() == b"second"


def test_class_key_and_tags_are_passed_on(
    bucket: BucketSettings, spool: Spool, client: Any
) -> None:
    given = replace(
        bucket, encryption="aws:kms", kms_key="alias/music", storage_class="STANDARD_IA", tags="a=b"
    )
    _put(given, spool, ClipName("kms", 0, 1, "wav"))
    head = client.head_object(Bucket="music", Key="musicgen/kms/clip.wav")
    assert head["ServerSideEncryption"] == "aws:kms"
    assert head["SSEKMSKeyId"].endswith("alias/music")
    assert head["StorageClass"] == "STANDARD_IA"
    tags = client.get_object_tagging(Bucket="music", Key="musicgen/kms/clip.wav")["TagSet"]
    assert tags == [{"Key": "a", "Value": "b"}]


def test_a_public_address_has_no_signature_and_can_be_removed(
    bucket: BucketSettings, spool: Spool, client: Any
) -> None:
    public = replace(bucket, public_url="https://cdn.example.com/audio/", prefix="/a b/")
    address = _put(public, spool)
    assert address == "https://cdn.example.com/audio/a%20b/job/clip.wav"
    S3Storage(public, spool).remove(address)
    assert "Contents" not in client.list_objects_v2(Bucket="music", Prefix="a b/")


@pytest.mark.parametrize("prefix", ["", "deep/er", "ünï"])
def test_any_prefix_can_be_fetched_and_removed(
    bucket: BucketSettings, spool: Spool, prefix: str
) -> None:
    storage = S3Storage(replace(bucket, prefix=prefix), spool)
    (address,) = storage.put_all([ClipFile(ONE, [b"sound"], "audio/wav")])
    assert httpx.get(address).content == b"sound"
    storage.remove(address)
    assert httpx.get(address).status_code == 404


def test_an_address_of_another_bucket_is_not_removed(bucket: BucketSettings, spool: Spool) -> None:
    with pytest.raises(StorageError, match="not that of a clip"):
        S3Storage(bucket, spool).remove("https://elsewhere.example.com/other/key.wav")


@given(job=st.text(max_size=30) | st.from_regex(r"[\w./~-]{1,20}", fullmatch=True))
def test_any_job_id_is_a_plain_part_of_a_key_or_refused(job: str) -> None:
    try:
        key = build_key(ClipName(job, 0, 1, "wav"))
    except StorageError:
        assert not re.fullmatch(r"[A-Za-z0-9-]{1,200}", job)
        return
    assert key == f"{job}/clip.wav"
    assert key.count("/") == 1 and job not in (".", "..") and job.isascii() and job.isprintable()


@pytest.mark.parametrize("job", ["", ".", "..", "a/b", "a\nb", "a\\b", "x" * 201, "a b", "ä"])
def test_a_job_id_that_would_escape_is_refused(job: str) -> None:
    with pytest.raises(StorageError, match="job id"):
        build_key(ClipName(job, 0, 1, "wav"))


@pytest.mark.parametrize(
    ("endpoint", "plain"),
    [
        ("https://music.s3.us-east-1.amazonaws.com", "https://s3.us-east-1.amazonaws.com"),
        ("https://music.nyc3.digitaloceanspaces.com/", "https://nyc3.digitaloceanspaces.com"),
        ("http://127.0.0.1:9000/music", "http://127.0.0.1:9000"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("https://musicbox.example.com", "https://musicbox.example.com"),
        (None, None),
    ],
)
def test_an_endpoint_that_names_the_bucket_names_it_once(
    endpoint: str | None, plain: str | None
) -> None:
    assert strip_bucket(endpoint, "music") == plain


def test_a_clip_arrives_through_an_endpoint_that_names_the_bucket(
    bucket: BucketSettings, spool: Spool, url: str
) -> None:
    address = _put(replace(bucket, endpoint_url=f"{url}/music"), spool)
    assert httpx.get(address).content == b"x"


def test_without_credentials_nothing_is_generated(
    bucket: BucketSettings, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(spool.folder))
    storage = S3Storage(replace(bucket, access_key_id=None, secret_access_key=None), spool)
    with pytest.raises(BucketRefused, match="MUSICGEN_BUCKET_ACCESS_KEY_ID"):
        storage.prepare(1)
    S3Storage(bucket, spool).prepare(1)


def test_credentials_of_the_standard_chain_are_used(
    bucket: BucketSettings, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-chain")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    chained = replace(bucket, access_key_id=None, secret_access_key=None)
    storage = S3Storage(chained, spool)
    storage.prepare(1)
    (address,) = storage.put_all([ClipFile(ONE, [b"x"], "audio/wav")])
    assert "from-the-chain" in address


def test_an_error_of_the_encoder_leaves_no_clip_anywhere(
    bucket: BucketSettings, spool: Spool, client: Any
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("the encoder failed")

    names = [ClipName("broken", index, 2, "wav") for index in range(2)]
    files = [
        ClipFile(names[0], [b"whole"], "audio/wav"),
        ClipFile(names[1], broken(), "audio/wav"),
    ]
    with pytest.raises(RuntimeError):
        S3Storage(bucket, spool).put_all(files)
    assert not list(spool.folder.iterdir())
    assert "Contents" not in client.list_objects_v2(Bucket="music", Prefix="musicgen/broken/")


def test_an_encoder_that_fails_after_an_early_upload_began_leaves_no_object(
    bucket: BucketSettings, spool: Spool, client: Any
) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(20 * 2**20)
        yield b"more"
        raise RuntimeError("the encoder failed")

    with pytest.raises(RuntimeError):
        S3Storage(bucket, spool).put_all(
            [ClipFile(ClipName("early", 0, 1, "wav"), broken(), "audio/wav")]
        )
    assert not list(spool.folder.iterdir())
    assert "Contents" not in client.list_objects_v2(Bucket="music", Prefix="musicgen/early/")


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [
        (503, "SlowDown", True),
        (500, "InternalError", True),
        (429, "TooManyRequests", True),
        (400, "RequestTimeout", True),
        (400, "BadDigest", True),
        (404, "NoSuchUpload", True),
        (403, "AccessDenied", False),
        (404, "NoSuchBucket", False),
        (400, "InvalidRequest", False),
    ],
)
def test_only_what_may_pass_is_tried_again(status: int, code: str, again: bool) -> None:
    from botocore.exceptions import ClientError

    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert is_transient(ClientError(response, "PutObject")) is again


def test_settings_choose_the_storage(bucket: BucketSettings, tmp_path: Path) -> None:
    assert isinstance(open_storage(Settings(data_dir=tmp_path)), LocalStorage)
    assert isinstance(open_storage(Settings(bucket=bucket, spool_dir=tmp_path)), S3Storage)


@pytest.mark.parametrize(
    ("change", "error"),
    [({"tags": "no-equals-sign"}, SettingsError), ({"endpoint_url": "not a url"}, BucketRefused)],
)
def test_settings_that_cannot_work_are_refused_at_once(
    bucket: BucketSettings, spool: Spool, change: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        S3Storage(replace(bucket, **change), spool)


ENCODER_FAILS = """
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from musicgen.settings import BucketSettings
from musicgen.storage.base import ClipFile, ClipName
from musicgen.storage.s3 import S3Storage
from musicgen.storage.spool import Spool

def blocks() -> Iterator[bytes]:
    yield bytes(20 * 2**20)
    time.sleep(1)  # the early upload then waits for more
    raise RuntimeError("the encoder failed")

bucket = BucketSettings(name="music", endpoint_url=sys.argv[1], deadline=10,
                        access_key_id="id", secret_access_key="secret")
clip = ClipFile(ClipName("hanging", 0, 1, "wav"), blocks(), "audio/wav")
try:
    S3Storage(bucket, Spool(Path(sys.argv[2]))).put_all([clip])
except RuntimeError:
    sys.stdout.write("raised")
"""

INTERRUPTED = """
import sys
import time
from pathlib import Path
from musicgen.settings import BucketSettings
from musicgen.storage import s3
from musicgen.storage.base import ClipFile, ClipName
from musicgen.storage.spool import Spool

def interrupted(*_: object) -> None:
    time.sleep(1)  # the early upload of the second clip then waits for more of it
    raise KeyboardInterrupt

s3.send = interrupted
bucket = BucketSettings(name="music", endpoint_url=sys.argv[1], deadline=10,
                        access_key_id="id", secret_access_key="secret")
sounds = [[b"short"], [bytes(20 * 2**20), b"more"]]
clips = [ClipFile(ClipName("stopped", n, 2, "wav"), sound, "audio/wav")
         for n, sound in enumerate(sounds)]
try:
    s3.S3Storage(bucket, Spool(Path(sys.argv[2]))).put_all(clips)
except KeyboardInterrupt:
    sys.stdout.write("raised")
"""


@pytest.mark.parametrize("script", [ENCODER_FAILS, INTERRUPTED], ids=["encoder", "interrupt"])
def test_a_process_ends_that_gave_up_during_an_early_upload(
    url: str, client: Any, tmp_path: Path, script: str
) -> None:
    """Guards a reader that waited for the rest of the clip for ever, and its process with it."""
    done = subprocess.run(
        [sys.executable, "-c", script, url, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout == "raised"
    assert not client.list_multipart_uploads(Bucket="music").get("Uploads")


@pytest.mark.parametrize("addressing", ["path", "virtual"])
def test_an_address_gives_its_key_back_also_below_a_prefix_named_like_the_bucket(
    addressing: str,
) -> None:
    bucket = BucketSettings(
        name="musicgen",
        endpoint_url="https://s3.example.com",
        addressing=addressing,
        access_key_id="id",
        secret_access_key="secret",
    )
    addresses = ObjectAddresses(bucket, open_client(bucket))
    key = "musicgen/job/clip.wav"
    assert addresses.read_key(addresses.build(key)) == key


def test_addresses_are_signed_for_the_public_endpoint(bucket: BucketSettings) -> None:
    """The host is part of the signature, so a caller cannot put another one in its place."""
    public = replace(bucket, public_endpoint_url="https://music.example.com")
    addresses = ObjectAddresses(public, open_client(public))
    address = addresses.build("musicgen/job/clip.wav")
    assert address.startswith("https://music.example.com/music/musicgen/job/clip.wav?")
    assert addresses.origin == "https://music.example.com"
    # Addresses from before the setting are still known.
    earlier = ObjectAddresses(bucket, open_client(bucket)).build("musicgen/job/clip.wav")
    assert addresses.read_key(address) == addresses.read_key(earlier) == "musicgen/job/clip.wav"


def test_without_a_prefix_an_address_elsewhere_is_still_refused(
    bucket: BucketSettings, spool: Spool
) -> None:
    with pytest.raises(StorageError, match="not that of a clip"):
        S3Storage(replace(bucket, prefix=""), spool).remove("https://elsewhere.example.com/music/a")


@pytest.mark.parametrize("tags", ["a", "=b", "a=b&=c", "&".join(f"k{i}=v" for i in range(11))])
def test_tags_that_a_bucket_would_refuse_are_refused_at_once(
    bucket: BucketSettings, spool: Spool, tags: str
) -> None:
    with pytest.raises(SettingsError, match="MUSICGEN_BUCKET_TAGS"):
        S3Storage(replace(bucket, tags=tags), spool)


def test_a_profile_that_does_not_exist_is_said(
    bucket: BucketSettings, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    with pytest.raises(BucketRefused, match="AWS_PROFILE"):
        S3Storage(replace(bucket, access_key_id=None, secret_access_key=None), spool)
