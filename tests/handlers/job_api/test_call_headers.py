"""The headers of every answer: its id, the rate limit, and what a refused key is told."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest
from starlette.responses import PlainTextResponse

from handlers.job_api.api.middleware.call_headers import CallHeaders, choose_request_id
from tests.support.job_server import JobServer, create_key, data_folder, job_server

LIMIT = 12
SITE = "https://studio.example"
RATE = re.compile(r'"calls";r=(\d+);t=(\d+)')


@pytest.fixture(scope="module")
def guarded() -> Iterator[JobServer]:
    """Asks for keys; without a worker."""
    settings = {
        "MUSICGEN_API_AUTH": "on",
        "MUSICGEN_RATE_LIMIT": f"{LIMIT}/minute",
        "MUSICGEN_CORS_ORIGINS": SITE,
        "MUSICGEN_LOG_LEVEL": "DEBUG",
        "MUSICGEN_LOG_FORMAT": "json",
    }
    with data_folder() as folder, job_server(folder, "api", **settings) as server:
        yield server


def _new_key(server: JobServer, name: str) -> dict[str, str]:
    """The headers of a new caller."""
    return {"Authorization": f"Bearer {create_key(server, name)}"}


CALLS = [
    ("GET", "/", {}, 200),
    ("GET", "/static/js/main.js", {}, 200),
    ("GET", "/healthz", {}, 200),
    ("GET", "/v1/jobs", {}, 401),
    ("GET", "/nowhere", {}, 404),
    ("PUT", "/v1/jobs", {}, 405),
    ("POST", "/session", {}, 413),
    ("POST", "/v1/generate", {"Origin": "https://evil.example"}, 403),
    ("GET", "/healthz", {"Host": "evil.example"}, 400),
    ("OPTIONS", "/v1/jobs", {"Origin": SITE, "Access-Control-Request-Method": "GET"}, 200),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), CALLS)
def test_each_answer_has_an_id(
    guarded: JobServer, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    for given in ("job-7.a_B:c+d/e=", None):
        sent = headers if given is None else {**headers, "X-Request-ID": given}
        body = bytes(2000) if status == 413 else None
        answer = httpx.request(method, guarded.url + path, headers=sent, content=body)
        assert answer.status_code == status, answer.text
        request_id = answer.headers["X-Request-ID"]
        assert request_id == given or re.fullmatch("[0-9a-f]{32}", request_id)
        if answer.headers["content-type"] == "application/json" and status >= 400:
            assert answer.json()["error"]["request_id"] == request_id


@pytest.mark.parametrize("given", [None, "", "a b", "a\nb", "é", "x" * 129, "<b>", "${x}", "a;b"])
def test_an_odd_id_is_replaced(given: str | None) -> None:
    assert re.fullmatch("[0-9a-f]{32}", choose_request_id(given))


def test_the_log_names_the_call(guarded: JobServer) -> None:
    httpx.get(f"{guarded.url}/v1/jobs", headers={"X-Request-ID": "find-me"})
    end = time.monotonic() + 10
    # It is written after the answer.
    while not (found := [line for line in guarded.log.splitlines() if "find-me" in line]):
        assert time.monotonic() < end
        time.sleep(0.05)
    lines = [json.loads(line) for line in found]
    assert all(line["request_id"] == "find-me" for line in lines)
    assert "status=401" in lines[-1]["message"]


def test_the_rate_limit_is_told_with_each_call(guarded: JobServer) -> None:
    with httpx.Client(base_url=guarded.url, headers=_new_key(guarded, "busy")) as busy:
        for left in range(LIMIT - 1, -1, -1):
            answer = busy.get("/v1/jobs")
            assert answer.status_code == 200
            assert answer.headers["RateLimit-Policy"] == f'"calls";q={LIMIT};w=60'
            told = RATE.fullmatch(answer.headers["RateLimit"])
            assert told and int(told[1]) == left and 1 <= int(told[2]) <= 60
        refused = busy.get("/v1/jobs")
    assert refused.status_code == 429
    told = RATE.fullmatch(refused.headers["RateLimit"])
    assert told and told[1] == "0" and told[2] == refused.headers["Retry-After"]
    # A stranger has no such allowance.
    assert "RateLimit" not in httpx.get(f"{guarded.url}/v1/jobs").headers


def test_a_wrong_key_is_told_apart_from_none(guarded: JobServer) -> None:
    url = f"{guarded.url}/v1/jobs"
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}):
        missing = httpx.get(url, headers=headers)
        assert missing.status_code == 401
        assert missing.json()["error"]["code"] == "key_needed"
        assert missing.headers["WWW-Authenticate"] == 'Bearer realm="musicgen"'
    key = _new_key(guarded, "gone")["Authorization"]
    wrong = httpx.get(url, headers={"Authorization": key[:-1] + "!"})
    assert wrong.status_code == 401
    assert wrong.json()["error"]["code"] == "key_wrong"
    assert "revoked" in wrong.json()["error"]["message"]
    assert 'error="invalid_token"' in wrong.headers["WWW-Authenticate"]
    sign_in = httpx.post(f"{guarded.url}/session", json={"key": "mg_x"})
    assert sign_in.json()["error"]["code"] == "key_wrong"


def test_a_server_without_keys_ignores_a_key(server: JobServer) -> None:
    """OpenAI's clients always send one, and a program for a guarded server works here too."""
    answer = server.http.get("/v1/jobs", headers={"Authorization": "Bearer anything"})
    assert answer.status_code == 200 and "RateLimit" in answer.headers
    assert server.http.get("/session").json()["auth"] is False


def test_pages_of_other_sites_can_read_them(guarded: JobServer) -> None:
    answer = httpx.get(f"{guarded.url}/v1/jobs", headers={"Origin": SITE})
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"X-Request-ID", "RateLimit", "RateLimit-Policy", "Retry-After", "Location"} <= {
        *exposed
    }
    asks = {
        "Origin": SITE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-request-id",
    }
    assert httpx.options(f"{guarded.url}/v1/generate", headers=asks).status_code == 200


@pytest.mark.parametrize(
    ("status", "own", "told"),
    [(503, None, "10"), (429, None, "10"), (503, "3", "3"), (500, None, None), (200, None, None)],
)
def test_each_429_and_503_says_when_to_come_again(
    status: int, own: str | None, told: str | None
) -> None:
    """A probe's 503 had none."""
    headers = {} if own is None else {"Retry-After": own}
    app = CallHeaders(PlainTextResponse("x", status, headers))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/")

    assert asyncio.run(ask()).headers.get("Retry-After") == told
