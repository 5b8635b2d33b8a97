"""HEAD answers like GET, without a body, on every route with a GET."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from handlers.job_api.worker.health_server import HealthServer
from handlers.job_api.worker.metrics import WorkerMetrics
from tests.support.job_server import JobServer
from tests.support.routes import job_api, list_routes

ROUTES = list_routes(job_api(Path("unused")).routes)
PATHS = sorted(path for method, path in set(ROUTES) if method == "GET" and path != "/static")
OTHERS = ("/openapi.json", "/static/style.css", "/nowhere", "/static/nowhere.css")
SAME = ("content-type", "content-length", "cache-control", "etag", "content-security-policy",
        "content-disposition", "accept-ranges")  # fmt: skip
CHANGES = ("/metrics",)
"""Their length is another one at each call."""


@pytest.fixture(scope="module")
def job_id(server: JobServer) -> str:
    job_id = server.submit()
    server.ended(job_id)
    return job_id


@pytest.mark.parametrize("path", [*PATHS, *OTHERS])
def test_head_is_get_without_its_body(server: JobServer, job_id: str, path: str) -> None:
    address = path.replace("{job_id}", job_id).replace("{name}", f"{job_id}.wav")
    address = address.replace("{name:path}", "demo")
    assert "{" not in address
    get, head = server.http.get(address), server.http.head(address)
    assert head.status_code == get.status_code
    assert head.content == b""
    for name in SAME:
        if name != "content-length" or (name in get.headers and path not in CHANGES):
            assert head.headers.get(name) == get.headers.get(name), name


def test_head_of_a_stream_does_not_wait_for_its_end(server: JobServer) -> None:
    job_id = server.submit(duration=300)
    server.until(job_id, lambda now: now["stream_url"])
    for path in (f"/v1/jobs/{job_id}/events", f"/v1/audio/{job_id}/stream"):
        began = time.monotonic()
        head = server.http.head(path)
        assert head.status_code == 200 and time.monotonic() - began < 2
        with server.http.stream("GET", path) as get:
            assert head.headers["content-type"] == get.headers["content-type"]
    server.http.delete(f"/v1/jobs/{job_id}")


def test_other_methods_are_refused_as_before(server: JobServer) -> None:
    assert server.http.put("/v1/models").status_code == 405
    paths = server.http.get("/openapi.json").json()["paths"]
    assert not [path for path, methods in paths.items() if "head" in methods]


def test_a_health_port_answers_head() -> None:
    port = HealthServer("127.0.0.1", 0, WorkerMetrics())
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port.port}") as http:
            for path in ("/healthz", "/metrics", "/nowhere"):
                assert http.head(path).status_code == http.get(path).status_code
    finally:
        port.close()


def test_a_refused_method_comes_with_all_methods_of_its_path(server: JobServer) -> None:
    """Starlette names the methods of the first route of a path alone."""
    paths = server.http.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        refused = server.http.put(path.format(job_id="0" * 32, name="demo", upload_id="0"))
        assert refused.status_code == 405, path
        allowed = set(refused.headers["allow"].split(", "))
        assert {method.upper() for method in methods} <= allowed, path
        assert ("HEAD" in allowed) == ("GET" in allowed), path
