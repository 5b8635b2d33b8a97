"""Replies of real jobs are documented: status, headers, media type and schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from handlers.job_api.api.openapi.media import BYTES, wants_bytes
from musicgen.request.limits import OUTPUT_FORMATS
from tests.support.clips import wav
from tests.support.documented import find_undocumented
from tests.support.job_server import JobServer

STATUS, EVENTS = "/v1/status/{job_id}", "/v1/jobs/{job_id}/events"
CLIP, STREAM = "/v1/audio/{name}", "/v1/audio/{job_id}/stream"


@pytest.fixture(scope="module")
def document(server: JobServer) -> dict[str, Any]:
    document: dict[str, Any] = server.http.get("/openapi.json").json()
    return document


@pytest.fixture(scope="module")
def job_id(server: JobServer) -> str:
    job_id = server.submit()
    server.ended(job_id)
    return job_id


def _check(document: dict[str, Any], path: str, reply: httpx.Response) -> None:
    method, status = reply.request.method, reply.status_code
    assert not find_undocumented(document, method, path, status, reply.headers)
    response = document["paths"][path][method.lower()]["responses"][str(status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    media = reply.headers.get("content-type", "").partition(";")[0]
    assert not media or media in response["content"], f"undocumented: {media}"
    if media == "application/json":
        _validate(document, response["content"][media]["schema"], reply.json())


def _validate(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    whole = {"components": document["components"], "schema": schema, "$ref": "#/schema"}
    jsonschema.validate(value, whole, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("extension", OUTPUT_FORMATS)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Range": "bytes=0-9"}, 206),
        ({"Range": "bytes=0-9,20-29"}, 206),
        ({"Range": "bytes=99999999-"}, 416),
        ({"If-None-Match": "*"}, 304),
        ({"Accept": BYTES}, 200),
    ],
)
def test_a_clip(
    server: JobServer,
    document: dict[str, Any],
    job_id: str,
    extension: str,
    headers: dict[str, str],
    status: int,
) -> None:
    for path, address in (
        (CLIP, f"/v1/audio/{job_id}.{extension}"),
        (STREAM, f"/v1/audio/{job_id}/stream"),
    ):
        reply = server.http.get(address, headers=headers)
        assert reply.status_code == status
        _check(document, path, reply)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (BYTES, BYTES),
        (f"application/json, {BYTES};q=0.9", BYTES),
        (f"{BYTES}, */*", "audio/wav"),
        (f"audio/*, {BYTES}", "audio/wav"),
        ("*/*", "audio/wav"),
        ("application/json", "audio/wav"),
        ("", "audio/wav"),
    ],
)
def test_sound_has_the_type_that_its_caller_takes(
    server: JobServer, job_id: str, accept: str, expected: str
) -> None:
    assert wants_bytes(accept, "audio/wav") == (expected == BYTES)
    for path in (f"/v1/audio/{job_id}.wav", f"/v1/audio/{job_id}/stream", f"/audio/{job_id}.wav"):
        reply = server.http.get(path, headers={"Accept": accept})
        assert (reply.headers["content-type"], reply.content[:4]) == (expected, b"RIFF")
        assert reply.headers["vary"] == "Accept"


def test_the_calls_of_a_job(server: JobServer, document: dict[str, Any], job_id: str) -> None:
    made = server.http.post("/v1/generate", json={"prompt": "piano", "duration": 0.5})
    _check(document, "/v1/generate", made)
    _check(document, STATUS, server.http.get(f"/v1/status/{job_id}"))
    _check(document, "/v1/jobs", server.http.get("/v1/jobs"))
    _check(document, "/v1/models", server.http.get("/v1/models"))
    _check(document, "/session", server.http.get("/session"))
    _check(document, "/session", server.http.delete("/session"))
    for path, reply in _refused(server, job_id):
        assert reply.status_code >= 400
        _check(document, path, reply)
    server.ended(made.json()["job_id"])


def _refused(server: JobServer, job_id: str) -> Iterator[tuple[str, httpx.Response]]:
    yield "/v1/generate", server.http.post("/v1/generate", json={"promt": "piano"})
    yield "/v1/generate", server.http.post("/v1/generate", content=b"{")
    yield "/v1/generate", server.http.post("/v1/generate", headers={"Origin": "http://other.site"})
    yield STATUS, server.http.get(f"/v1/status/{'0' * 32}")
    yield "/v1/jobs", server.http.get("/v1/jobs?limit=0")
    yield CLIP, server.http.get(f"/v1/audio/{job_id}.aac")
    yield STREAM, server.http.get(f"/v1/audio/{job_id}/stream?clip=2")
    yield "/v1/uploads", server.http.post("/v1/uploads", content=b"no sound")


def test_an_upload(server: JobServer, document: dict[str, Any]) -> None:
    reply = server.http.post("/v1/uploads", content=wav(1))
    assert reply.status_code == 201
    _check(document, "/v1/uploads", reply)


def test_events_and_live_sound(server: JobServer, document: dict[str, Any]) -> None:
    job_id = server.submit(duration=4)
    event = {"$ref": "#/components/schemas/StatusEvent"}
    with server.http.stream("GET", f"/v1/jobs/{job_id}/events") as reply:
        _check(document, EVENTS, reply)
        blocks = reply.read().decode().split("\n\n")
    events = [block.split("\n") for block in blocks if block.startswith("event: ")]
    assert len(events) >= 2
    for name, data in events:
        body = data.removeprefix("data: ")
        _validate(document, event, {"event": name.removeprefix("event: "), "data": body})
        _validate(document, {"$ref": "#/components/schemas/Status"}, json.loads(body))
    job_id = server.submit(duration=60)
    server.until(job_id, lambda now: now["stream_url"])
    with server.http.stream(
        "GET", f"/v1/audio/{job_id}/stream", headers={"Accept": BYTES}
    ) as reply:
        assert reply.headers["content-type"] == BYTES
        _check(document, STREAM, reply)
    server.http.delete(f"/v1/jobs/{job_id}")
