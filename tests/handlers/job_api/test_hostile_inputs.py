"""No value of any parameter of any route is a fault of the server: the database is PostgreSQL."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import math
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import psycopg
import pytest

from handlers.job_api.api.request_schema import JOB_FIELDS
from handlers.job_api.store import jobs, queue
from handlers.job_api.store.database import Pool
from handlers.job_api.store.embedded_postgres import EmbeddedServer
from handlers.job_api.store.models import (
    WorkerRow,
    find_available_models,
    read_requested_model,
    record_load_failure,
    request_model,
    write_worker,
)
from musicgen.request import request_fields
from tests.support.job_server import JobServer, data_folder, job_server
from tests.support.routes import job_api, list_routes

JSON = {"Content-Type": "application/json"}
ID = "a" * 32
DATES = (
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00"),
    *("2026-01-01T00:00:00+15:59:59.5", "2026-W01-1T00:00+00:00", "20260101T000000+0000"),
    *("2026-01-01", "2026-01-01T00:00:00+16:00", "0000-01-01T00:00:00Z", "infinity"),
)
CURSORS = [base64.urlsafe_b64encode(f"{date} {ID}".encode()).decode() for date in DATES]
TEXTS = ["\0", "a\0b", "%ED%A0%80", "\x7f\x80", "x" * 3000, "-1", "9" * 5000, "1e400", "", "é🎵"]
VALUES = [
    *(r'"\u0000"', r'"a\u0000b"', r'"\ud800"', r'"x\udfffy"', "1e400", "-1e400", "NaN"),
    *("9" * 4000, "-0.0", "true", "null", "[]", "{}", r'["\u0000"]', r'{"\ud800": "\u0000"}'),
    *("[" * 400 + "]" * 400, '"' + "x" * 3000 + '"', "1.5", r'"upload:\u0000"', r'"upload:\ud800"'),
    *(r'"http://192.0.2.1/\u0000"', r'"http://192.0.2.1/\ud800"', r'"http://\u0000/"'),
    *(r'"data:audio/wav,\ud800"', r'"data:\u0000"', r'"data:audio/wav;x=\ud800;base64,AAAA"'),
    r'[{"prompt": "\u0000", "duration": 1}]',
]  # fmt: skip
HEADERS = (
    *("Idempotency-Key", "Authorization", "Cookie", "traceparent", "Range", "If-Range", "Origin"),
    *("If-None-Match", "If-Modified-Since", "Last-Event-ID"),
)
HEADER_VALUES = (b"\xff\xfe", b"\xed\xa0\x80", b"x" * 250, b"bytes=-", b'"', b"musicgen_key=\xe9")


@pytest.fixture(scope="module")
def api() -> Iterator[JobServer]:
    settings = {
        "MUSICGEN_RATE_LIMIT": "1000000/minute",
        "MUSICGEN_QUEUE_MAX": 100_000,
        "MUSICGEN_JOBS_PER_KEY": 100_000,
    }
    with data_folder() as folder, job_server(folder, "api", **settings) as running:
        yield running


def _check(answer: httpx.Response, call: object) -> None:
    assert answer.status_code < 500, (call, answer.text)
    # Agents read MCP's own refusals: some are plain text, some have no body.
    is_ours = answer.request.method != "HEAD" and answer.request.url.path != "/mcp"
    if answer.status_code >= 400 and is_ours:
        assert answer.json()["error"]["message"], call
    assert "connection" not in answer.headers, call


def test_no_value_of_a_parameter_is_a_fault(api: JobServer, tmp_path: Path) -> None:
    """GET /v1/jobs?before= answered 500 to dates that Python reads and PostgreSQL does not."""
    document = api.http.get("/openapi.json").json()["paths"]
    asked = set()
    for method, path in sorted(set(list_routes(job_api(tmp_path).routes))):
        names = _list_query_parameters(document.get(path, {}).get(method.lower(), {}))
        plain = path.replace("{job_id}", ID).replace("{name}", f"{ID}.wav")
        addresses = [re.sub(r"{\w+(:path)?}", "%s", path)] if "{" in path else []
        addresses += [f"{plain}?{name}=%s" for name in [*names, "nonsense"]]
        for address, value in itertools.product(addresses, [*TEXTS, *CURSORS]):
            call = address.replace("%s", value if "%" in value else quote(value, safe=""))
            _check(api.http.request(method, call), (method, call))
            asked.add(address)
    assert {"/v1/jobs?before=%s", "/v1/jobs?limit=%s", "/status/%s", "/v1/models/%s/load"} <= asked


def _list_query_parameters(operation: dict[str, Any]) -> list[str]:
    parameters = operation.get("parameters", ())
    return [parameter["name"] for parameter in parameters if parameter["in"] == "query"]


def test_no_value_of_a_field_is_a_fault(api: JobServer) -> None:
    """A lone surrogate or a null character in `input_audio` or a name was a 500."""
    names = [*request_fields(), *JOB_FIELDS, r"\ud800", r"a\u0000b", "x" * 3000, r"\n"]
    for name, value in itertools.product(names, VALUES):
        prompt = "" if name == "prompt" else '"prompt": "x", '
        body = f'{{{prompt}"{name}": {value}}}'
        _check(api.http.post("/generate", content=body, headers=JSON), body[:200])
    for value in (*VALUES, '"x", "\\ud800": 1'):
        _check(api.http.post("/session", content=f'{{"key": {value}}}', headers=JSON), value)
        _check(api.http.post("/generate", content=value, headers=JSON), value)


def test_no_header_is_a_fault(api: JobServer) -> None:
    address = urlsplit(api.url)
    for name in HEADERS:
        for value in HEADER_VALUES:
            for method, path in (("POST", "/generate"), ("GET", f"/audio/{ID}.wav"), ("GET", "/")):
                caller = http.client.HTTPConnection(str(address.hostname), address.port)
                caller.putrequest(method, path)
                caller.putheader(name, value)
                body = b'{"prompt": "x"}' if method == "POST" else b""
                caller.putheader("Content-Length", str(len(body)))
                caller.endheaders(body)
                answer = caller.getresponse()
                assert answer.status < 500, (name, value, path, answer.read())
                caller.close()


def test_pages_are_complete_whatever_zone_a_cursor_has(api: JobServer) -> None:
    ids = [api.submit() for _ in range(3)]
    page = api.http.get("/v1/jobs", params={"limit": 1}).json()
    assert page["jobs"][0]["job_id"] == ids[2]
    date, last = base64.urlsafe_b64decode(page["next"]).decode().split(" ")
    for moved in (date, date.replace("+00:00", "Z")):
        cursor = base64.urlsafe_b64encode(f"{moved} {last}".encode()).decode()
        rest = api.http.get("/v1/jobs", params={"limit": 2, "before": cursor}).json()["jobs"]
        assert [job["job_id"] for job in rest] == ids[1::-1]


@pytest.mark.parametrize("path", ["/generate", "/v1/uploads", "/session"])
def test_a_caller_that_hangs_up_is_no_fault(api: JobServer, path: str) -> None:
    """It was logged with a traceback and counted as a 500."""
    address = urlsplit(api.url)
    log = api.folder.with_name(f"{api.folder.name}.log")
    before = log.read_text().count("Traceback")
    with socket.create_connection((address.hostname, address.port)) as caller:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        caller.sendall(f"{head}Content-Length: 500\r\n\r\n{{".encode())
        time.sleep(0.2)
    end = time.monotonic() + 20
    label = f'method="POST",route="{path.removeprefix("/v1")}",status="4'
    counted: list[str] = []
    while not any(f"{label}99" in line or f"{label}00" in line for line in counted):
        assert time.monotonic() < end, counted
        time.sleep(0.05)
        lines = api.http.get("/metrics").text.splitlines()
        counted = [line for line in lines if "http_request_seconds_count" in line]
    assert not [line for line in counted if 'status="500"' in line]
    assert log.read_text().count("Traceback") == before


def test_after_a_fault_the_connection_still_works(data: Path) -> None:
    """The server hung up after each 500, and the caller's next call was lost."""
    with job_server(data, "api") as server:
        address = urlsplit(server.url)
        with psycopg.connect(EmbeddedServer(data).url, autocommit=True) as database:
            database.execute("ALTER TABLE musicgen_jobs RENAME TO elsewhere")
            caller = http.client.HTTPConnection(str(address.hostname), address.port)
            for _ in range(2):
                caller.request("GET", "/v1/jobs")
                answer = caller.getresponse()
                assert answer.status == 500
                assert json.loads(answer.read())["error"]["code"] == "internal_error"
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert caller.sock is not None
                caller.request("GET", "/healthz")
                assert caller.getresponse().read()
            database.execute("ALTER TABLE elsewhere RENAME TO musicgen_jobs")
        log = data.with_name(f"{data.name}.log").read_text()
        assert "UndefinedTable" in log and "Exception in ASGI application" not in log


def test_any_end_of_a_job_is_kept(
    with_pool: Callable[[Callable[[Pool], Awaitable[Any]]], Any],
) -> None:
    """A null character in an error's text kept the worker from ever ending the job."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        ends = {"fail": {"message": "a\0b\ud800"}, "complete": {"clips": [{"lufs": math.inf}]}}
        for name, value in ends.items():
            new = jobs.NewJob("one", {"prompt": "x"}, "hash", 1.0)
            await jobs.submit(pool, app, new, jobs.JobLimits(9, 9), queue.LOCAL)
            row = await jobs.get(pool, new.id)
            assert row is not None
            run = await jobs.begin(pool, new.id, row["queue_id"], "worker")
            assert run is not None and await getattr(jobs, name)(pool, run, value)
            ended = await jobs.get(pool, new.id)
            assert ended is not None
            kept = ended["error"] or ended["result"]
            assert kept in ({"message": r"a\x00b\ud800"}, {"clips": [{"lufs": None}]})
        await request_model(pool, "demo", "demo")
        await record_load_failure(pool, "demo", "no\0\ud800", "load_failed")
        requested = await read_requested_model(pool)
        assert requested is not None and requested.error == r"no\x00\ud800"

    with_pool(work)


def test_any_licence_of_a_model_is_kept(
    with_pool: Callable[[Callable[[Pool], Awaitable[Any]]], Any],
) -> None:
    """A null character in a model card kept the worker's row from being written."""

    async def work(pool: Pool) -> None:
        row = WorkerRow("one", 1, queue.LOCAL, ["tune"], None, {"tune": "my\0own"})
        await write_worker(pool, row)
        available = await find_available_models(pool, "tune")
        assert available.licences == {"tune": r"my\x00own"}

    with_pool(work)
