"""Calls without a valid key: limited by address, cheap, and no hindrance to callers with one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from handlers.job_api.api.auth import read_address
from handlers.job_api.api.context import OPEN_CALL_LIMIT, WRONG_KEY_LIMIT
from handlers.job_api.api.key_ring import READ_SECONDS, KeyRing
from handlers.job_api.store import api_keys
from handlers.job_api.store.database import Pool
from tests.handlers.job_api.test_security import Guarded
from tests.support.job_server import data_folder, free_port, job_server

OPEN_CALLS = int(OPEN_CALL_LIMIT.split("/")[0])
WRONG_KEYS = int(WRONG_KEY_LIMIT.split("/")[0])
WithPool = Callable[[Callable[[Pool], Awaitable[Any]]], Any]


def _random_key() -> str:
    return f"mg_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"


def test_strangers_are_refused_and_callers_served(database: str, with_pool: WithPool) -> None:
    """GET /session and calls that were refused had no limit."""
    key = with_pool(lambda pool: api_keys.create(pool, "one", frozenset({"generate"}), None)).key
    port = free_port()
    settings = {"DATABASE_URL": database, "MUSICGEN_API_AUTH": "on", "MUSICGEN_METRICS_PORT": port}
    with (
        data_folder(with_database=False) as folder,
        job_server(folder, "api", key=key, **settings) as server,
        httpx.Client(base_url=server.url) as stranger,
        ThreadPoolExecutor(8) as pool,
    ):

        def guess(_: int) -> int:
            headers = {"Authorization": f"Bearer {_random_key()}"}
            return stranger.get("/v1/jobs", headers=headers).status_code

        guessed = list(pool.map(guess, range(3 * WRONG_KEYS)))
        assert guessed.count(401) == WRONG_KEYS and guessed.count(429) == 2 * WRONG_KEYS

        def call(path: str) -> int:
            return stranger.get(path).status_code

        answers = list(pool.map(call, ["/session", "/v1/jobs", "/v1/models"] * (OPEN_CALLS // 3)))
        assert set(answers) == {200, 401, 429}
        for path in ("/session", "/v1/jobs", "/status/x", "/audio/x.wav"):
            answer = stranger.get(path)
            assert answer.json()["error"]["code"] == "too_many_calls"
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert stranger.post("/session", json={"key": "x"}).status_code == 429
        assert stranger.post("/v1/uploads", content=bytes(1000)).status_code == 429
        # From the same address, as behind a proxy.
        assert server.http.get("/session").json()["signed_in"]
        assert server.http.get("/v1/jobs").status_code == 200
        assert stranger.get("/healthz").status_code == 200
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        for code in ("key_needed", "key_wrong", "too_many_calls"):
            assert f'musicgen_calls_refused_total{{code="{code}"}}' in metrics


def test_a_flood_of_keys_costs_the_database_two_queries_a_second(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        new = await api_keys.create(pool, "one", frozenset({"generate"}), None)
        ring = KeyRing(pool)
        before = pool.get_stats()["requests_num"]
        began = asyncio.get_running_loop().time()
        keys = [new.key if n % 2 else _random_key() for n in range(500)]
        found = await asyncio.gather(*(ring.find(key) for key in keys))
        seconds = asyncio.get_running_loop().time() - began
        assert [caller is not None for caller in found] == [bool(n % 2) for n in range(500)]
        assert pool.get_stats()["requests_num"] - before <= seconds / READ_SECONDS + 1

    with_pool(work)


def test_a_new_key_works_at_once_and_a_revoked_one_ends_soon(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        ring = KeyRing(pool)
        assert await ring.find(_random_key()) is None
        new = await api_keys.create(pool, "one", frozenset({"generate"}), None)
        assert await ring.find(new.key) is not None
        await api_keys.revoke(pool, new.prefix)
        await asyncio.sleep(READ_SECONDS)
        assert await ring.find(new.key) is None

    with_pool(work)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.9"),
        ("::1", "::/64"),
        ("no address", "no address"),
    ],
)
def test_a_customer_with_many_addresses_is_one_address(host: str, address: str) -> None:
    """Each customer of IPv6 has 2^64 addresses."""
    assert read_address(Request({"type": "http", "client": (host, 1)})) == address


@pytest.mark.parametrize("proxies", ["127.0.0.1/32", "192.0.2.0/24"])
def test_only_a_listed_proxy_tells_the_address(data: Path, proxies: str) -> None:
    settings = {"MUSICGEN_RATE_LIMIT": "1/minute", "MUSICGEN_PROXIES": proxies}
    with job_server(data, "api", **settings) as server:
        answers = [
            server.http.get("/v1/jobs", headers={"X-Forwarded-For": f"203.0.113.{n}"})
            for n in (1, 2, 2)
        ]
        is_told = proxies.startswith("127")
        assert [a.status_code for a in answers] == [200, 200 if is_told else 429, 429]


@pytest.mark.parametrize("auth", ["on", "off"])
def test_a_stranger_reads_no_figures(data: Path, auth: str) -> None:
    """Behind a proxy on this machine everybody read the metrics of a server without keys, and with
    keys the numbers of workers and jobs."""
    stranger = {"X-Forwarded-For": "203.0.113.9"}
    with job_server(data, "api", MUSICGEN_API_AUTH=auth) as server:
        assert server.http.get("/readyz", headers=stranger).json() == {"status": "ok"}
        answer = server.http.get("/metrics", headers=stranger)
        assert answer.status_code == 404 and "musicgen_" not in answer.text
        assert server.http.get("/readyz").json()["workers"] == 0
        assert server.http.get("/metrics").status_code == (200 if auth == "off" else 404)
        if auth == "on":
            key = Guarded(server, {}).command("create", "one").split("key: ")[1].split()[0]
            known = {**stranger, "Authorization": f"Bearer {key}"}
            assert server.http.get("/readyz", headers=known).json()["workers"] == 0
