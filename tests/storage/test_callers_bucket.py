"""A caller's bucket: its own key to a checked address, one text for every refusal."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.httpsession
import httpx
import pytest

from musicgen.errors import BucketRefused
from musicgen.settings import BucketSettings, Delivery, Settings
from musicgen.storage.base import ClipFile, ClipName
from musicgen.storage.callers_bucket import REFUSAL, CallersBucket
from musicgen.storage.factory import open_delivery
from musicgen.storage.spool import Spool
from tests.support.callers_server import make_certificate
from tests.support.recording_server import Recorder, record
from tests.support.s3_server import s3_server
from tests.support.silent_server import SilentServer

LOOPBACK = ("127.0.0.1/32",)
SOUND = bytes(range(256)) * 40


@pytest.fixture
def server() -> Iterator[Recorder]:
    with record() as recorder:
        yield recorder


@pytest.fixture
def forbidden() -> Iterator[Recorder]:
    with record("127.0.0.2") as recorder:
        yield recorder


def _bucket(url: str | None, seconds: float = 5.0) -> BucketSettings:
    return BucketSettings(
        name="callers",
        endpoint_url=url,
        deadline=seconds,
        access_key_id="AKIDCALLER",
        secret_access_key="callers-secret",
    )


def _put(
    bucket: BucketSettings,
    folder: Path,
    sound: bytes = SOUND,
    networks: tuple[str, ...] = LOOPBACK,
) -> str:
    storage = CallersBucket(bucket, Spool(folder), networks)
    storage.prepare(len(sound))
    return storage.put_all([ClipFile(ClipName("job", 0, 1, "wav"), [sound], "audio/wav")])[0]


def _fail(bucket: BucketSettings, folder: Path, **options: Any) -> str:
    with pytest.raises(BucketRefused) as raised:
        _put(bucket, folder, **options)
    assert raised.value.__cause__ is None
    assert not list(folder.iterdir())
    return str(raised.value)


@pytest.mark.parametrize("size", [1000, 20 * 2**20], ids=["small", "in parts"])
def test_a_clip_arrives_in_an_allowed_network(tmp_path: Path, size: int) -> None:
    with s3_server() as moto:
        url = moto.env["MUSICGEN_BUCKET_ENDPOINT_URL"]
        address = _put(replace(_bucket(url), name="music"), tmp_path, bytes(size))
        assert httpx.get(address).content == bytes(size)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [1000, 20 * 2**20], ids=["small", "in parts"])
@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_a_redirect_is_one_request_and_one_error(
    server: Recorder, forbidden: Recorder, tmp_path: Path, status: str, size: int
) -> None:
    server.mode, server.location = status, forbidden.url
    assert _fail(_bucket(server.url), tmp_path, sound=bytes(size)) == REFUSAL
    assert len(server.requests) == 1
    assert forbidden.connected == 0


@pytest.mark.parametrize("size", [1000, 20 * 2**20], ids=["small", "in parts"])
def test_a_cancelled_upload_is_left_at_once(tmp_path: Path, size: int) -> None:
    """A silent bucket of a cancelled job held its slot until the deadline."""
    silent, cancelled = SilentServer(), threading.Event()
    bucket = _bucket(silent.url.removesuffix("/sound.wav"), seconds=120)
    delivery = Delivery(bucket, is_callers=True, cancelled=cancelled)
    storage = open_delivery(delivery, Settings(spool_dir=tmp_path, bucket_networks=LOOPBACK))

    def cancel() -> None:
        silent.wait_for(opened=1)
        cancelled.set()

    threading.Thread(target=cancel, daemon=True).start()
    file = ClipFile(ClipName("job", 0, 1, "wav"), [bytes(size)], "audio/wav")
    with pytest.raises(BucketRefused):
        storage.put_all([file])
    # A second attempt would have followed the read timeout of the first.
    assert silent.opened == 1 and silent.wait_for(closed=1)
    assert not list(tmp_path.iterdir())


def test_all_refusals_have_one_text(
    server: Recorder, forbidden: Recorder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Open and closed, forbidden and unknown, denied and broken look the same to the caller."""
    port = forbidden.url.rpartition(":")[2]
    urls = [
        forbidden.url,
        "http://127.0.0.2:9",
        f"https://127.0.0.2:{port}",
        "http://nowhere.invalid",
        "https://nowhere.invalid",
        "http://127.0.0.1:9",
        f"http://[::ffff:127.0.0.2]:{port}",
        f"http://2130706434:{port}",
        f"http://127.2:{port}",
        f"http://0.0.0.0:{port}",
        "http://169.254.169.254",
        "https://10.0.0.1",
        "https://[::1]",
        "http://192.0.2.1",
    ]
    texts = {_fail(_bucket(url, seconds=1), tmp_path) for url in urls}
    for mode in ("deny", "away", "endless", "drip"):
        server.mode = mode
        texts.add(_fail(_bucket(server.url, seconds=1), tmp_path))
    assert texts == {REFUSAL}
    assert forbidden.connected == 0
    assert "callers-secret" not in caplog.text and "AKIDCALLER" not in caplog.text


def test_a_forbidden_address_is_refused_before_anything_is_generated(tmp_path: Path) -> None:
    storage = CallersBucket(_bucket("https://127.0.0.2"), Spool(tmp_path))
    with pytest.raises(BucketRefused):
        storage.prepare(1)


def test_a_public_address_needs_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve(monkeypatch, {"s3.example": ["93.184.215.14"]})
    CallersBucket(_bucket("https://s3.example"), Spool(tmp_path)).prepare(1)
    with pytest.raises(BucketRefused):
        CallersBucket(_bucket("http://s3.example"), Spool(tmp_path)).prepare(1)


def test_each_connection_is_checked(
    server: Recorder, forbidden: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name leads elsewhere a moment later, at the first connection or at a repeated one."""
    server.mode = "away"
    for allowed_times in (1, 2):
        for target in (server, forbidden):
            answers = ["127.0.0.1"] * allowed_times + ["127.0.0.2"] * 99
            with monkeypatch.context() as names:
                _resolve(names, {"s3.example": answers}, in_turn=True)
                port = target.url.rpartition(":")[2]
                assert _fail(_bucket(f"http://s3.example:{port}", 2), tmp_path) == REFUSAL
            assert answers[0] == "127.0.0.2", "it was looked up again"
    assert forbidden.connected == 0


def test_tls_and_host_keep_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path, "s3.example")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    monkeypatch.setattr(botocore.httpsession, "where", lambda: str(certificate))
    names = {name: ["127.0.0.1"] for name in ("s3.example", "callers.s3.example", "other.example")}
    _resolve(monkeypatch, names)
    spool = tmp_path / "spool"
    with record(tls=serving) as server:
        port = server.url.rpartition(":")[2]
        _put(_bucket(f"https://s3.example:{port}"), spool)
        assert f"Host: s3.example:{port}" in server.transcript
        heard = len(server.heard)
        assert _fail(_bucket(f"https://other.example:{port}", 1), spool) == REFUSAL
        assert _fail(_bucket(f"https://127.0.0.1:{port}", 1), spool) == REFUSAL
        assert len(server.heard) == heard


def test_nothing_of_the_operators_environment_is_sent_or_used(
    server: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "profile"
    profile.write_text(
        "[default]\naws_access_key_id = OPERATOR\naws_secret_access_key = OPERATOR\n"
        "[profile operator]\nregion = OPERATOR\nendpoint_url = http://127.0.0.2:9\n"
        "sdk_ua_app_id = OPERATOR\ns3 =\n  use_accelerate_endpoint = true\n"
    )
    with record("127.0.0.2") as proxy:
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE"):
            monkeypatch.setenv(name, str(profile))
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("AWS_PROFILE", "operator")
        for name in (
            "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCOUNT_ID",
            "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV", "AWS_SDK_UA_APP_ID",
            "AWS_LAMBDA_FUNCTION_NAME", "_X_AMZN_TRACE_ID",
        ):  # fmt: skip
            monkeypatch.setenv(name, "OPERATOR")
        address = _put(_bucket(server.url), tmp_path / "spool")
        aws = CallersBucket(_bucket(None), Spool(tmp_path / "spool"))
        assert aws._client.meta.endpoint_url == "https://s3.amazonaws.com"
        assert proxy.connected == 0
    assert server.requests == ["PUT /callers/musicgen/job/clip.wav"]
    assert "AKIDCALLER" in server.transcript
    assert "OPERATOR" not in server.transcript + address
    assert str(profile) not in server.transcript


@pytest.mark.parametrize("mode", ["drip", "hang"])
def test_a_server_that_holds_the_connection_is_left_at_the_deadline(
    server: Recorder, tmp_path: Path, mode: str
) -> None:
    server.mode, started = mode, time.monotonic()
    assert _fail(_bucket(server.url, seconds=1.5), tmp_path, sound=bytes(2**22)) == REFUSAL
    assert time.monotonic() - started < 4


def test_a_long_answer_is_not_read(server: Recorder, tmp_path: Path) -> None:
    server.mode = "endless"
    started = time.monotonic()
    assert _fail(_bucket(server.url, seconds=30), tmp_path) == REFUSAL
    assert time.monotonic() - started < 5
    assert len(server.requests) == 1


def test_a_full_disk_is_told_as_such(server: Recorder, tmp_path: Path) -> None:
    """It is no fact about the network, and the operator's to mend."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(Exception, match="cannot write to"):
        _put(_bucket(server.url), blocked)
    assert server.connected == 0


def _resolve(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]], *, in_turn: bool = False
) -> None:
    """Give names these addresses, all of them, or one after the other."""
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in names:
            return real(host, port, *args, **options)
        found = [names[host].pop(0)] if in_turn else names[host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
