"""The metrics of an API: bounded labels, no long wait, current values, and closed to strangers."""

from __future__ import annotations

import asyncio
import random
import socket
import string
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from handlers.job_api.api.metrics import ApiMetrics
from handlers.job_api.store import database_meter
from handlers.job_api.store.database import Pool, open_pool, query
from handlers.job_api.store.database_meter import DatabaseMeter
from handlers.job_api.store.queue_load import QueueLoadMeter
from handlers.job_api.store.schema import migrate
from tests.handlers.job_api.test_security import Guarded
from tests.support.clips import wav
from tests.support.job_server import JobServer, data_folder, free_port, job_server

WithPool = Callable[[Callable[[Pool], Any]], Any]
LABELS = {
    "method": {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"},
    "state": {"queued", "running", "completed", "failed", "cancelled"},
    "folder": {"data"},
    "outcome": {"delivered", "repeated", "given_up"},
}


def _samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _value(text: str, name: str, **labels: str) -> float | None:
    return _samples(text).get((name, frozenset(labels.items())))


@pytest.fixture(scope="module")
def operated() -> Iterator[tuple[JobServer, str]]:
    """An API with keys, and the address of its operator's port."""
    port = free_port()
    own = {"MUSICGEN_API_AUTH": "on", "MUSICGEN_METRICS_PORT": port}
    with data_folder() as folder, job_server(folder, "api", **own) as server:
        yield server, f"http://127.0.0.1:{port}"


def test_a_stranger_sees_no_metrics_and_the_operator_s_port_does(
    operated: tuple[JobServer, str],
) -> None:
    server, port = operated
    answer = server.http.get("/metrics")
    assert answer.status_code == 404, "the public port needs keys"
    assert "MUSICGEN_METRICS_PORT" in answer.json()["error"]["message"]
    text = httpx.get(f"{port}/metrics").text
    assert _value(text, "musicgen_database_up") == 1
    assert (_value(text, "musicgen_disk_free_bytes", folder="data") or 0) > 0
    assert httpx.get(f"{port}/readyz").status_code == 200


def test_labels_stay_bounded_under_a_thousand_odd_requests(
    operated: tuple[JobServer, str],
) -> None:
    server, port = operated
    chance = random.Random(5)
    methods = ["GET", "POST", "BREW", *("".join(chance.sample(string.ascii_uppercase, 9))
                                        for _ in range(200))]  # fmt: skip
    paths = [
        "/status/x",
        "/v1/jobs/{job_id}",
        "/audio/a.wav",
        "/v1/models/%00/load",
        "/static/x.js",
    ]
    host = server.url.removeprefix("http://")
    for number in range(1000):
        method = chance.choice(methods)
        path = chance.choice([*paths, f"/{number}", f"/v1/jobs?limit={number}"])
        with socket.create_connection(("127.0.0.1", int(host.split(":")[1])), timeout=10) as line:
            head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            line.sendall(head.encode())
            assert line.recv(100).startswith(b"HTTP/1.1 ")
    samples = _samples(httpx.get(f"{port}/metrics").text)
    values: dict[str, set[str]] = {}
    for _, labels in samples:
        for name, value in labels:
            values.setdefault(name, set()).add(value)
    for name, allowed in LABELS.items():
        assert values[name] <= allowed, name
    assert len(values["route"]) < 30 and len(values["status"]) < 20
    assert max(Counter(name for name, _ in samples).values()) < 2000
    seen = sum(value for (name, _), value in samples.items()
               if name == "musicgen_http_request_seconds_count")  # fmt: skip
    assert seen >= 1000


def test_states_without_jobs_go_back_to_zero(
    with_pool: WithPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_meter, "COUNT_SECONDS", 0.0)

    async def work(pool: Pool) -> None:
        meter, metrics = DatabaseMeter(pool, QueueLoadMeter(pool)), ApiMetrics()
        insert = (
            "INSERT INTO musicgen_jobs (id, owner, request, request_hash, queue, audio_seconds)"
        )
        await query(pool, f"{insert} VALUES ('a', 'o', '{{}}', 'h', 'local', 1)")
        for queued, running in ((1, 0), (0, 1)):
            text = metrics.render(await meter.read()).decode()
            assert _value(text, "musicgen_jobs_kept", state="queued") == queued
            assert _value(text, "musicgen_jobs_kept", state="running") == running
            await query(pool, "UPDATE musicgen_jobs SET state = 'running'")

    with_pool(work)


def test_many_scrapes_count_the_jobs_once(database: str) -> None:
    """By PostgreSQL's own counter, which a connection reports itself: there is only one."""
    scans = (
        "SELECT seq_scan + coalesce(idx_scan, 0) AS n FROM pg_stat_user_tables "
        "WHERE relname = 'musicgen_jobs'"
    )

    async def count_scans(pool: Pool) -> int:
        await query(pool, "SELECT pg_stat_force_next_flush()")
        return int((await query(pool, scans))[0]["n"])

    async def scrape() -> int:
        async with open_pool(database, largest=1) as pool:
            await migrate(pool)
            meter = DatabaseMeter(pool, QueueLoadMeter(pool))
            await meter.read()
            before = await count_scans(pool)
            for _ in range(20):
                assert None not in await asyncio.gather(*(meter.read() for _ in range(10)))
            return await count_scans(pool) - before

    assert asyncio.run(scrape()) <= 6


def test_an_unreachable_database_is_said_within_two_seconds(database: str) -> None:
    with (
        data_folder(with_database=False) as folder,
        job_server(folder, "api", DATABASE_URL=database) as server,
    ):
        assert _value(server.http.get("/metrics").text, "musicgen_workers") == 0
        with psycopg.connect(database.replace("/one_test?", "/postgres?"), autocommit=True) as own:
            own.execute("ALTER DATABASE one_test WITH ALLOW_CONNECTIONS false")
            own.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = 'one_test'")  # fmt: skip
            time.sleep(1.1)  # the load of the queue is known for a second
            began = time.monotonic()
            text = server.http.get("/metrics").text
            assert time.monotonic() - began < 2
            assert _value(text, "musicgen_database_up") == 0
            assert _value(text, "musicgen_workers") is None, "it is not known"
            assert "musicgen_http_request_seconds_count" in text
            own.execute("ALTER DATABASE one_test WITH ALLOW_CONNECTIONS true")
        end = time.monotonic() + 30
        while _value(server.http.get("/metrics").text, "musicgen_database_up") != 1:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_an_unexpected_error_is_counted(operated: tuple[JobServer, str]) -> None:
    """Its answer is made outside of the routes; it was in no figure, and no alert saw it."""
    server, port = operated
    key = Guarded(server, {}).command("create", "one").split("key: ")[1].split()[0]
    uploads = server.folder / "uploads"
    uploads.write_text("not a folder")
    headers = {"Authorization": f"Bearer {key}"}
    try:
        answer = server.http.post("/v1/uploads", content=wav(0.2), headers=headers)
    finally:
        uploads.unlink()
    assert answer.status_code == 500, answer.text
    text = httpx.get(f"{port}/metrics").text
    labels = {"method": "POST", "route": "/uploads", "status": "500"}
    assert _value(text, "musicgen_http_request_seconds_count", **labels) == 1


def test_the_parts_of_serve_all_take_one_port_each(data: Path) -> None:
    port = free_port()
    with job_server(data, MUSICGEN_METRICS_PORT=port):
        assert "musicgen_database_up" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert "musicgen_batch_size" in httpx.get(f"http://127.0.0.1:{port + 1}/metrics").text
