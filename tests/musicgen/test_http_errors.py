"""Every client here ends a broken answer in a typed error of one line."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path

import httpx
import pytest

from infra.deploy.rest import Rest
from infra.deploy.target import DeployError
from musicgen.checkpoints import remote_file
from musicgen.checkpoints.download import fetch
from musicgen.errors import MusicGenError
from musicgen.http_errors import list_http_errors
from musicgen.net.fetch import DownloadLimits, download
from musicgen.net.post import post
from musicgen.remote import http_api
from musicgen.remote.http_api import HttpApi
from musicgen.settings import BucketSettings, Settings
from musicgen.storage import s3_client
from musicgen.storage.base import ClipFile, ClipName
from musicgen.storage.s3 import S3Storage
from musicgen.storage.spool import Spool
from musicgen_client import (
    AsyncMusicGenClient,
    MusicGenClient,
    MusicGenClientError,
    UnexpectedAnswer,
    sending,
)
from tests.support.broken_answers import (
    OUTLASTED,
    STALLED,
    Breakage,
    answer_with,
    close_after,
    redirect,
    refuse,
    reset_after,
    send_no_http,
    send_too_little,
    stall_after,
)

NETWORK = ("127.0.0.1/32",)
BODY = bytes(1000)
BREAKAGES = {
    "reset at once": reset_after(0),
    "reset": reset_after(100),
    "closed": close_after(100),
    "stalled": stall_after(100),
    "no HTTP": send_no_http,
    **{str(status): refuse(status) for status in (401, 403, 404, 429, 500)},
    "no gzip": refuse(200, Content_Encoding="gzip"),
    "redirect to nobody": redirect("http://127.0.0.1:9/"),
    "redirect to no address": redirect("http://[bad/"),
    "redirect to no host": redirect("http://" + "a" * 300 + "/"),
    "redirect to another protocol": redirect("ftp://127.0.0.1/x"),
    "redirect in a circle": redirect("?again"),
}


def test_each_class_of_httpx_is_caught() -> None:
    """A redirect to an invalid address raised `InvalidURL`, the child of no other error."""
    for name, kind in vars(httpx).items():
        if inspect.isclass(kind) and issubclass(kind, Exception):
            assert issubclass(kind, list_http_errors()), name
            assert issubclass(kind, sending.HTTP_ERRORS), name


class Breaking:
    """A server that answers each request with `breakage`."""

    def __init__(self) -> None:
        self.breakage: Breakage = send_too_little
        self.url = ""
        self.asked = 0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Breaking]:
    """And clients that do not wait long."""
    monkeypatch.setattr(remote_file, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(remote_file, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(remote_file, "ATTEMPTS", 1)
    monkeypatch.setattr(s3_client, "READ_SECONDS", 0.2)
    monkeypatch.setattr(http_api, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(http_api, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(sending, "FIRST_PAUSE_SECONDS", 0.001)
    breaking = Breaking()
    STALLED.clear()
    OUTLASTED.clear()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            breaking.asked += 1
            self.close_connection = True
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            breaking.breakage(self, BODY)

        do_POST = do_PATCH = do_HEAD = do_PUT = do_GET  # noqa: N815 the names of http.server

        def log_message(self, *args: object) -> None:
            """Says nothing on standard error."""

    class Web(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Says nothing of a client that hung up."""

    with Web(("127.0.0.1", 0), Handler) as web:
        breaking.url = f"http://127.0.0.1:{web.server_port}"
        threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        yield breaking
        STALLED.set()
        web.shutdown()


def _download_sound(url: str, folder: Path) -> None:
    download(f"{url}/a.wav", folder / "a.wav", DownloadLimits(seconds=2), NETWORK)


def _fetch_weights(url: str, folder: Path) -> None:
    fetch(f"{url}/a.packed", Settings(weights_dir=folder, data_dir=folder))


def _bucket(url: str) -> BucketSettings:
    return BucketSettings(
        name="music",
        endpoint_url=url,
        access_key_id="key",
        secret_access_key="secret",
        deadline=1,
    )


def _fetch_weights_from_bucket(url: str, folder: Path) -> None:
    settings = Settings(weights_dir=folder, data_dir=folder, bucket=_bucket(url))
    fetch("s3://music/a.packed", settings)


def _store_in_bucket(url: str, folder: Path) -> None:
    file = ClipFile(ClipName("job", 0, 1, "wav"), [BODY], "audio/wav")
    S3Storage(_bucket(url), Spool(folder)).put_all([file])


def _ask_deployment(url: str, _: Path) -> None:
    HttpApi(url, "token", 0.5).get("/predictions/1")


def _send_to_deployment(url: str, _: Path) -> None:
    HttpApi(url, "token", 0.5).post("/predictions", {})


def _download_clip(url: str, _: Path) -> None:
    HttpApi(url, "token", 0.5).download(f"{url}/clip.wav")


def _ask_server(url: str, _: Path) -> None:
    MusicGenClient(url, timeout=0.2).models()


def _ask_server_in_a_loop(url: str, _: Path) -> None:
    async def ask() -> None:
        async with AsyncMusicGenClient(url, timeout=0.2) as client:
            await client.models()

    asyncio.run(ask())


def _submit(url: str, _: Path) -> None:
    MusicGenClient(url, timeout=0.2).submit(prompt="x")


def _read_status(url: str, _: Path) -> None:
    MusicGenClient(url, timeout=0.2).status("a" * 32)


def _deploy(url: str, _: Path) -> None:
    rest = Rest(url, "token", "TOKEN")
    rest._client.timeout = httpx.Timeout(0.2)
    rest.patch("/x", {})


CALLS = {
    "input audio": _download_sound,
    "weights": _fetch_weights,
    "weights in a bucket": _fetch_weights_from_bucket,
    "question to a deployment": _ask_deployment,
    "request to a deployment": _send_to_deployment,
    "clip of a deployment": _download_clip,
    "client": _ask_server,
    "asynchronous client": _ask_server_in_a_loop,
    "deploy": _deploy,
}


@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_broken_answer_ends_in_a_typed_error(
    server: Breaking, tmp_path: Path, call: Callable[[str, Path], None], breakage: Breakage
) -> None:
    server.breakage = breakage
    with pytest.raises((MusicGenError, MusicGenClientError, DeployError)) as raised:
        call(server.url, tmp_path)
    assert str(raised.value) and 0 < server.asked <= 21
    assert not OUTLASTED.is_set()
    assert "\n" not in str(raised.value).strip()


_ASKING = (_ask_server, _ask_server_in_a_loop, _submit, _read_status)


@pytest.mark.parametrize(
    ("call", "page"),
    [
        *product(_ASKING, (b"<html>\n<p>Sign in</p>", b"5", b"")),
        *product((_submit, _read_status), (b"[]", b'{"a": 1}')),
    ],
)
def test_another_server_s_answer_ends_in_a_typed_error(
    server: Breaking, tmp_path: Path, call: Callable[[str, Path], None], page: bytes
) -> None:
    """A wrong address, or a proxy's page with status 200, was a traceback."""
    server.breakage = answer_with(page)
    with pytest.raises(UnexpectedAnswer, match="is not that of a job API") as raised:
        call(server.url, tmp_path)
    assert "\n" not in str(raised.value)


def test_a_page_ends_a_deploy_in_one_line(server: Breaking, tmp_path: Path) -> None:
    server.breakage = answer_with(b"<html>\n<p>Sign in</p>")
    with pytest.raises(DeployError, match="200: <html> <p>Sign in</p>"):
        _deploy(server.url, tmp_path)


@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES)
def test_a_webhook_ends_in_a_status_or_a_typed_error(
    server: Breaking, monkeypatch: pytest.MonkeyPatch, breakage: Breakage
) -> None:
    monkeypatch.setattr("musicgen.net.post.LIMITS", DownloadLimits(bytes=0, seconds=5))
    server.breakage = breakage
    try:
        status = asyncio.run(post(f"{server.url}/hook", {}, b"{}", NETWORK))
    except MusicGenError as error:
        assert "\n" not in str(error)
    else:
        assert 200 <= status < 600
    assert server.asked == 1 and not OUTLASTED.is_set()


@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES)
def test_an_upload_to_a_bucket_ends_in_success_or_a_typed_error(
    server: Breaking, tmp_path: Path, breakage: Breakage
) -> None:
    server.breakage = breakage
    try:
        _store_in_bucket(server.url, tmp_path)
    except MusicGenError as error:
        assert "\n" not in str(error)
    assert server.asked and not OUTLASTED.is_set()
