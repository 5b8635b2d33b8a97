"""Refused calls as typed errors, and when they are repeated."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from musicgen_client import (
    AuthenticationFailed,
    CannotWrite,
    ConnectionFailed,
    Job,
    MissingKey,
    MusicGenClient,
    MusicGenClientError,
    NotFound,
    PermissionDenied,
    QueueFull,
    RateLimited,
    RetryPolicy,
    ServerError,
    ServerUnavailable,
    UnexpectedAnswer,
    errors,
)
from musicgen_client.sending import read_retry_after
from tests.musicgen_client.conftest import GuardedServer

ONCE = RetryPolicy(retries=0)
JOB = {
    "job_id": "1",
    "status": "queued",
    "progress": 0.0,
    "created_at": "2026-01-01T00:00:00.000Z",
}


def test_all_errors_have_one_base() -> None:
    own = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    failures = [kind for kind in own if issubclass(kind, Exception)]
    assert len(failures) > 15
    for kind in failures:
        assert issubclass(kind, MusicGenClientError)
        assert (errors.__doc__ or "").count(f" {kind.__name__} ") <= 1
        assert kind.__name__ in (errors.__doc__ or "")


def test_a_wrong_key_is_not_a_missing_one(guarded: GuardedServer) -> None:
    with MusicGenClient(guarded.server.url) as client, pytest.raises(MissingKey) as missing:
        client.models()
    assert missing.value.code == "key_needed"
    with (
        MusicGenClient(guarded.server.url, "mg_x") as client,
        pytest.raises(AuthenticationFailed, match="revoked") as wrong,
    ):
        client.models()
    assert not isinstance(wrong.value, MissingKey)
    with MusicGenClient(guarded.server.url, guarded.create_key("right")) as client:
        assert client.models().default == "demo"


def test_scopes_and_owners(guarded: GuardedServer) -> None:
    url = guarded.server.url
    with (
        MusicGenClient(url, guarded.create_key("narrow", "generate")) as narrow,
        MusicGenClient(url, guarded.create_key("other")) as other,
    ):
        with pytest.raises(PermissionDenied):
            narrow.load("demo")
        job_id = narrow.submit(prompt="x")
        with pytest.raises(NotFound):
            other.status(job_id)
        with pytest.raises(NotFound):
            list(other.events(job_id))
        assert narrow.cancel(job_id).status == "cancelled"


def test_limits_of_jobs_and_of_the_queue(guarded: GuardedServer) -> None:
    url, jobs = guarded.server.url, []
    clients = [MusicGenClient(url, guarded.create_key(f"many-{n}"), policy=ONCE) for n in range(3)]
    for client in clients[:2]:
        jobs += [(client, client.submit(prompt="x")) for _ in range(2)]
    with pytest.raises(RateLimited) as many:
        clients[0].submit(prompt="x")
    assert many.value.code == "too_many_jobs" and many.value.retry_after
    jobs.append((clients[2], clients[2].submit(prompt="x")))
    with pytest.raises(QueueFull) as full:
        clients[2].submit(prompt="x")
    assert (full.value.status, full.value.code) == (503, "queue_full")
    assert full.value.retry_after and full.value.request_id
    for client, job_id in jobs:
        client.cancel(job_id)
    for client in clients:
        client.close()


def test_a_flood_waits_as_the_server_asks(guarded: GuardedServer) -> None:
    """20 calls a second are allowed: 45 calls take two seconds, and none fails."""
    key = guarded.create_key("flood")
    began = time.monotonic()
    with MusicGenClient(guarded.server.url, key) as client:
        for _ in range(45):
            client.models()
    assert time.monotonic() - began > 1.5
    with (
        MusicGenClient(guarded.server.url, key, policy=ONCE) as client,
        pytest.raises(RateLimited) as refused,
    ):
        for _ in range(60):
            client.models()
    assert refused.value.code == "too_many_calls" and refused.value.retry_after == 1


class Scripted:
    """A server that answers with a list of (status, headers, body)."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], Any]] = []
        self.asked: list[tuple[float, dict[str, str]]] = []
        self.paths: list[str] = []
        self.url = ""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setattr("musicgen_client.sending.FIRST_PAUSE_SECONDS", 0.001)
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.paths.append(self.path)
            script.asked.append((time.monotonic(), dict(self.headers)))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = script.answers.pop(0)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        script.url = f"http://127.0.0.1:{web.server_port}"
        threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        yield script
        web.shutdown()


@pytest.mark.parametrize("wait", ["1", "date"])
def test_retry_after_is_honoured(scripted: Scripted, wait: str) -> None:
    value = wait if wait == "1" else formatdate(time.time() + 2, usegmt=True)
    scripted.answers = [(503, {"Retry-After": value}, {}), (200, {}, JOB)]
    with MusicGenClient(scripted.url) as client:
        assert client.status("1").id == "1"
    (first, _), (second, _) = scripted.asked
    assert 0.9 < second - first < 10


def test_a_long_retry_after_is_the_caller_s(scripted: Scripted) -> None:
    error = {"code": "queue_full", "message": "full", "expected_seconds": 500.0}
    scripted.answers = [(503, {"Retry-After": "600"}, {"error": error})]
    with MusicGenClient(scripted.url) as client, pytest.raises(QueueFull) as full:
        client.submit(prompt="x")
    assert (full.value.retry_after, full.value.expected_seconds) == (600.0, 500.0)
    assert len(scripted.asked) == 1


def test_one_idempotency_key_for_all_attempts(scripted: Scripted) -> None:
    scripted.answers = [(502, {}, {}), (503, {}, {}), (202, {}, {"job_id": "7"})]
    headers = {"X-Request-ID": "mine"}
    with MusicGenClient(scripted.url, headers=headers) as client:
        assert client.submit(prompt="x") == "7"
    keys = {headers["Idempotency-Key"] for _, headers in scripted.asked}
    assert len(keys) == 1 and len(scripted.asked) == 3
    assert all(headers["X-Request-ID"] == "mine" for _, headers in scripted.asked)
    assert scripted.asked[0][1]["User-Agent"].startswith("musicgen-client/")


@pytest.mark.parametrize(
    ("status", "kind"), [(500, ServerError), (507, ServerError), (404, NotFound)]
)
def test_other_answers_are_not_repeated(scripted: Scripted, status: int, kind: type) -> None:
    scripted.answers = [(status, {}, b"<html>\n<b>no</b>")]
    with MusicGenClient(scripted.url) as client, pytest.raises(kind, match="<html> <b>no</b>"):
        client.status("1")


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_the_address_may_end_in_the_version(scripted: Scripted, end: str) -> None:
    scripted.answers = [(200, {}, JOB)]
    with MusicGenClient(scripted.url + end) as client:
        assert client.status("a/b").status == "queued"
    assert scripted.paths == ["/v1/status/a%2Fb"]


def test_attempts_end(scripted: Scripted) -> None:
    scripted.answers = [(503, {}, {})] * 3
    policy = RetryPolicy(retries=2)
    with (
        MusicGenClient(scripted.url, policy=policy) as client,
        pytest.raises(ServerUnavailable),
    ):
        client.status("1")
    assert len(scripted.asked) == 3 and not scripted.answers


def _event(**changes: Any) -> bytes:
    return f"event: status\ndata: {json.dumps({**JOB, **changes})}\n\n".encode()


def test_events_go_on_after_lost_connections(scripted: Scripted) -> None:
    queued, running = _event(), _event(status="running", progress=0.5)
    cut = {"Content-Length": "10000"}
    scripted.answers = [
        (200, {}, b": keep-alive\n\n" + queued),
        (200, cut, queued + running + b'event: status\ndata: {"job_id"'),
        (503, {}, {}),
        (200, {}, running + _event(status="completed", progress=1.0)),
    ]
    with MusicGenClient(scripted.url) as client:
        states = [job.status for job in client.events("1")]
    assert states == ["queued", "running", "completed"] and not scripted.answers


def test_events_that_never_come_end(scripted: Scripted) -> None:
    scripted.answers = [(200, {}, b": nothing\n\n")] * 9
    policy = RetryPolicy(retries=2)
    with MusicGenClient(scripted.url, policy=policy) as client:
        with pytest.raises(ConnectionFailed, match="before the job has ended"):
            list(client.events("1"))
        scripted.answers = [(200, {}, b"data: [1]\n\n")]
        with pytest.raises(UnexpectedAnswer, match="not a status"):
            list(client.events("1"))
        scripted.answers = [(200, {}, b"data: " + b"x" * 5_000_000 + b"\n\n")]
        with pytest.raises(UnexpectedAnswer, match="too long"):
            list(client.events("1"))


@pytest.mark.parametrize("change", [{"status": "odd"}, {"created_at": "x"}, {"created_at": 5}])
def test_another_server_s_status(scripted: Scripted, change: dict[str, Any]) -> None:
    scripted.answers = [(200, {}, {**JOB, **change})]
    with MusicGenClient(scripted.url) as client, pytest.raises(UnexpectedAnswer):
        client.status("1")


def test_a_file_that_cannot_be_written(scripted: Scripted, tmp_path: Path) -> None:
    clip = {"url": "/audio/1.wav", "content_type": "audio/wav", "sha256": ""}
    done = {**JOB, "status": "completed", "result": {"clips": [clip]}}
    scripted.answers = [(200, {}, b"RIFF")]
    (tmp_path / "file").touch()
    with MusicGenClient(scripted.url) as client, pytest.raises(CannotWrite, match="cannot write"):
        client.save(Job.from_mapping(done), tmp_path / "file" / "a.wav")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        *((text, None) for text in (None, "", "-3", "1.5", "soon", "٣", "Thu, 99 Jan 1970")),
        ("9" * 400, 999_999_999_999.0),
    ],
)
def test_the_seconds_of_a_retry_after(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, now=100.0) == seconds
