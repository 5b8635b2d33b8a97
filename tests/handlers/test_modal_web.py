"""The web address of Modal as a process, with callers that are many, slow, wrong or gone.

Contract, as read on 2026-11-29: https://modal.com/docs/guide/webhooks, /webhook-timeouts,
/concurrent-inputs and /preemption (a container that stops ends its calls first).
"""

from __future__ import annotations

import base64
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from handlers import call_body
from tests.support.callers import send_partial_body, wait_until_busy, wait_until_idle
from tests.support.modal_web import ModalWebProcess, start_modal_web
from tests.support.model_server import start_model_server

FIELDS = {"prompt": "fast high bells", "duration": 1, "seed": 7}
LONG = {"prompt": "fast high bells", "duration": 200, "output_format": "mp3", "bitrate": 96}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModalWebProcess]:
    with start_modal_web(tmp_path_factory.mktemp("modal"), TEST_BODY_SECONDS=1) as server:
        yield server


def read_audio(reply: dict[str, Any]) -> bytes:
    return base64.b64decode(reply["clips"][0]["audio"])


def test_calls_side_by_side_give_the_bytes_of_their_seeds(web: ModalWebProcess) -> None:
    assert web.http.get("/").json()["models"] == ["demo"]
    with ThreadPoolExecutor(6) as pool:
        seeds = (7, 7, 8, 9, 7, 8)
        calls = [pool.submit(web.http.post, "/", json=FIELDS | {"seed": seed}) for seed in seeds]
        found = [read_audio(call.result().json()) for call in calls]
    assert found[0] == found[1] == found[4] and found[2] == found[5] and len(set(found)) == 3


@pytest.mark.slow
def test_the_model_server_gives_the_same_bytes(web: ModalWebProcess, tmp_path: Path) -> None:
    found = read_audio(web.http.post("/", json=FIELDS).json())
    with start_model_server(tmp_path) as server:
        server.wait_until_ready()
        assert read_audio(server.http.post("/invocations", json=FIELDS).json()) == found


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 422, "invalid_request"),
        (b"[1]", 422, "invalid_request"),
        (b"", 422, "invalid_request"),
        (b"\xff\xfe", 422, "invalid_request"),
        (b'{"prompt": "\\ud800"}', 422, None),
        (b'{"prompt": "x", "tempo": 3}', 422, None),
        (b'{"prompt": {"a": [1]}}', 422, None),
        (b"[" * 90_000, 422, "invalid_request"),
        (b"[" * (call_body.VALUES_MAX + 1), 413, "body_too_large"),
        (b" " * (call_body.BODY_MAX_BYTES + 1), 413, "body_too_large"),
        (b'{"prompt": "x", "duration": 200}', 413, "inline_too_large"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_bodies_get_an_error_in_the_form_of_the_platform(
    web: ModalWebProcess, body: bytes, status: int, code: str | None
) -> None:
    answer = web.http.post("/", content=body)
    found, _, text = answer.json()["error"].partition(": ")
    assert answer.status_code == status and text
    assert code in (None, found)


def test_unknown_paths_and_methods_are_told_the_right_ones(web: ModalWebProcess) -> None:
    for answer, status in ((web.http.get("/x"), 404), (web.http.put("/"), 405)):
        assert answer.status_code == status
        assert answer.json()["error"].endswith("Send POST / or GET /.")


def test_a_body_that_never_ends_is_refused(web: ModalWebProcess) -> None:
    """Guards against a few slow callers who hold all inputs of a container."""
    status, reply = send_partial_body(web.port, "/")
    assert (status, reply["error"]) == (408, "body_too_slow: The body was not received in time.")


def test_a_caller_who_hangs_up_stops_the_decode(web: ModalWebProcess) -> None:
    with pytest.raises(httpx.ReadTimeout):
        web.http.post("/", json=LONG, timeout=1)
    wait_until_idle(web.process.pid)
    assert web.http.post("/", json=FIELDS).status_code == 200
    assert "Traceback" not in web.log


@pytest.mark.slow
def test_running_calls_end_ahead_of_the_container(tmp_path: Path) -> None:
    with start_modal_web(tmp_path) as server, ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.http.post, "/", json=FIELDS | {"duration": 20})
        wait_until_busy(server.process.pid)
        for _ in range(2):
            server.process.send_signal(signal.SIGTERM)
        assert call.result().status_code == 200
        server.process.wait(20)
        assert "Traceback" not in server.log
