"""A flood of every body on every route by 50 callers neither stops nor swells the API."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import soundfile as sf

from handlers.job_api.api.bodies import FIELDS_MAX_BYTES, INLINE_MAX_BYTES
from handlers.job_api.store import api_keys
from handlers.job_api.store.database import Pool, open_pool
from handlers.job_api.store.schema import migrate
from handlers.job_api.store.upload_files import UPLOAD_MAX_BYTES
from tests.audio.test_bounded_reading import write_silence
from tests.support.clips import wav
from tests.support.health_watch import ANSWER_SECONDS, HealthWatch
from tests.support.job_server import JobServer, data_folder, job_server
from tests.support.memory_group import memory_group
from tests.support.open_jobs import open_jobs
from tests.support.routes import job_api, list_routes

pytestmark = pytest.mark.slow
CALLERS, SECONDS = 50, 30.0
MEMORY_BYTES = 2**30
MEMORY_RETURNS = 1.2
Body = Callable[[], "bytes | Iterator[bytes] | None"]


@dataclass
class MemoryWatch:
    """Memory of a process and its children, looked at often; `most` in bytes."""

    pid: int
    most: int = 0

    def read(self) -> int:
        total = 0
        own = psutil.Process(self.pid)
        for process in (own, *own.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    @contextmanager
    def run(self) -> Iterator[None]:
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.05):
                self.most = max(self.most, self.read())

        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            try:
                yield
            finally:
                over.set()
                looking.result()


def _wav(size: int) -> bytes:
    sound = io.BytesIO()
    sf.write(sound, np.zeros((size // 4, 2), np.int16), 48_000, format="WAV", subtype="PCM_16")
    return sound.getvalue()


def _pieces(size: int) -> Iterator[bytes]:
    """A body of unknown length."""
    for _ in range(size // 2**16 + 1):
        yield bytes(2**16)


def bodies(folder: Path) -> dict[str, Body]:
    """Bodies of every kind, at the limits and over them."""
    write_silence(folder / "silence", 600)
    silence, large, small = (folder / "silence").read_bytes(), _wav(20_000_000), wav(1)
    inline = base64.b64encode(_wav(INLINE_MAX_BYTES * 3 // 4 - 10_000)).decode()
    call = {"prompt": "x", "continuation": True}
    made: dict[str, bytes | None] = {
        "none": None,
        "key": json.dumps({"key": "mg_00000000_" + "A" * 43}).encode(),
        "kilobyte": json.dumps({"key": "x" * 990}).encode()[:1000],
        "over a kilobyte": b"x" * 1001,
        "call": json.dumps(call | {"prompt": "y"}).encode(),
        "inline": json.dumps(call | {"input_audio": inline}).encode(),
        "over inline": json.dumps(call | {"input_audio": inline + "A" * 100_000}).encode(),
        "fields": json.dumps({"prompt": "x" * (FIELDS_MAX_BYTES - 50)}).encode(),
        "over fields": json.dumps({"prompt": "x" * FIELDS_MAX_BYTES}).encode(),
        "lists": b"[" + b"[]," * (INLINE_MAX_BYTES // 3 - 10) + b"[]]",
        "deep": b"[" * 400_000,
        "names": b"{" + b",".join(b'"%d":1' % n for n in range(40_000)) + b"}",
        "no json": b"\xff\xfe" * 100,
        "wav": small,
        "large wav": large,
        "silence": silence,
        "cut": silence[: len(silence) // 2],
    }
    plain: dict[str, Body] = {name: (lambda body=body: body) for name, body in made.items()}
    sizes = {"kilobyte": 1001, "inline": INLINE_MAX_BYTES, "upload": UPLOAD_MAX_BYTES}
    for name, size in sizes.items():
        plain[f"endless over {name}"] = lambda size=size: _pieces(size)
    return plain


async def _create_keys(url: str) -> list[str]:
    async with open_pool(url) as pool:
        await migrate(pool)
        return [(await _create_key(pool, f"caller {n}")) for n in range(4)]


async def _create_key(pool: Pool, name: str) -> str:
    return (await api_keys.create(pool, name, frozenset(api_keys.SCOPES), None)).key


def _call(http: httpx.Client, method: str, path: str, body: Body, key: str | None) -> str:
    """Make one call; the status, or the name of a connection that was closed early."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with http.stream(method, path, content=body(), headers=headers) as answer:
            # A stream of events has no end.
            next(answer.iter_raw(), b"")
            return str(answer.status_code)
    except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError) as error:
        return type(error).__name__


def _fill_paths(routes: list[tuple[str, str]], ended: str, live: str) -> list[tuple[str, str]]:
    """Methods and paths with names in them: of no job, of an ended one and of one with live sound.

    The jobs stay as they are.
    """
    filled = []
    for method, path in routes:
        ends = method == "DELETE" or path.endswith("/cancel")
        jobs = ["0" * 32] if ends else ["0" * 32, ended, live]
        for job_id in jobs:
            for extension in ("wav", "mp3", "flac"):
                names = {"job_id": job_id, "name": f"{job_id}.{extension}", "name:path": "small"}
                one = path
                for name, value in names.items():
                    one = one.replace(f"{{{name}}}", value)
                filled.append((method, one))
    return sorted(set(filled))


def _flood(
    server: JobServer,
    keys: list[str],
    used: tuple[str | None, ...],
    kinds: dict[str, Body],
    routes: list[tuple[str, str]],
) -> Counter[str]:
    """All calls once, then random ones until the time is over. `used`: keys of each call."""
    calls = list(itertools.product(routes, kinds.values(), used))
    random.Random(1).shuffle(calls)
    end = time.monotonic() + SECONDS
    counted: Counter[str] = Counter()
    todo, lock = iter(calls), threading.Lock()

    def work(number: int) -> None:
        choices = random.Random(number)
        with httpx.Client(base_url=server.url, timeout=300) as http:
            while True:
                with lock:
                    chosen = next(todo, None)
                if chosen is None:
                    if time.monotonic() > end:
                        return
                    chosen = choices.choice(calls)
                (method, path), body, key = chosen
                key = keys[number % len(keys)] if key in keys else key
                outcome = _call(http, method, path, body, key)
                with lock:
                    counted[outcome] += 1

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(work, range(CALLERS)))
    return counted


@pytest.mark.parametrize("auth", ["on", "off"])
def test_a_flood_neither_stops_nor_swells_the_api(database: str, tmp_path: Path, auth: str) -> None:
    """One body of 100 MB stopped /healthz for 25 s and took 3.4 GB, kept afterwards."""
    settings = {
        "DATABASE_URL": database,
        "MUSICGEN_API_AUTH": auth,
        "MUSICGEN_RATE_LIMIT": "100000/minute",
        "MUSICGEN_JOBS_PER_KEY": 10_000,
        "MUSICGEN_QUEUE_MAX": 100_000,
        "MUSICGEN_UPLOAD_MB_PER_KEY": 500,
        # No worker ends the jobs of the calls that wait.
        "MUSICGEN_WAIT_SECONDS": 1,
    }
    kinds, keys = bodies(tmp_path), asyncio.run(_create_keys(database))
    used = (None, "wrong", keys[0]) if auth == "on" else (None,)
    routes = sorted(set(list_routes(job_api(tmp_path).routes)))
    assert len(routes) > 15
    with (
        data_folder(with_database=False) as folder,
        memory_group(MEMORY_BYTES) as group,
        job_server(folder, "api", key=keys[0], **settings) as server,
    ):
        group.add(server.process.pid)
        memory = MemoryWatch(server.process.pid)

        async def flood() -> tuple[int, Counter[str], HealthWatch]:
            async with open_jobs(server, database) as (ended, live):
                paths = _fill_paths(routes, ended, live)
                # Modules that the first calls import stay.
                for method, path in paths:
                    for name in ("call", "inline", "wav") if method == "POST" else ("none",):
                        _call(server.http, method, path, kinds[name], keys[0])
                began = memory.read()
                watch = HealthWatch(server.url, server.process.pid, pause=0.1)
                with memory.run(), watch.run() as health:
                    counted = await asyncio.to_thread(_flood, server, keys, used, kinds, paths)
                return began, counted, health

        began, counted, health = asyncio.run(flood())
        end = time.monotonic() + 30
        while (left := memory.read()) > MEMORY_RETURNS * began and time.monotonic() < end:
            time.sleep(0.5)
        figures = {
            "calls": dict(counted),
            "healthz": health.figures,
            "megabytes": [size // 10**6 for size in (began, memory.most, left)],
            "limit reached": group.failures,
            "killed": group.kills,
        }
        sys.stdout.write(f"{auth}: {figures}\n")
        assert server.process.poll() is None and not group.kills, figures
        assert not [status for status in counted if status in ("500", "502")], figures
        assert health.worst < ANSWER_SECONDS, figures
        assert memory.most < MEMORY_BYTES, figures
        assert left <= MEMORY_RETURNS * began, figures
        # Else anybody could fill the disk with it.
        assert "Traceback" not in server.log
