"""RunPod's job queue on loopback, as its SDK asks it, and workers of the real SDK on it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support import ROOT

DEADLINE = 60.0
HOLD_SECONDS = 0.2
"""How long a worker is kept waiting for a job: a stopped one ends only when its polls have."""
BODY_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Post:
    """What a worker sent about a job: `kind` is update, result or stream."""

    kind: str
    job_id: str
    body: dict[str, Any]


@dataclass
class Queue:
    """The queue's own side: jobs to take, jobs to stop, and what came back, in order."""

    url: str = ""
    waiting: deque[dict[str, Any]] = field(default_factory=deque)
    to_stop: list[str] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    pings: list[dict[str, str]] = field(default_factory=list)
    refusals: int = 0
    """How many of the next results are answered with status 500."""
    refused: int = 0
    update_seconds: float = 0.0
    """How long an update is on its way before it is here."""
    on_their_way: int = 0
    hold_seconds: float = HOLD_SECONDS
    lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, *jobs: dict[str, Any]) -> None:
        """Offers jobs together: a worker with room for all of them takes all at once."""
        with self.lock:
            self.waiting.extend(jobs)

    def run(self, job_id: str, **fields: Any) -> dict[str, Any]:
        """The result of a job with a fifth of a second of music, or what `fields` say."""
        self.submit(job(job_id, **fields))
        return self.result(job_id)

    def result(self, job_id: str) -> dict[str, Any]:
        """The body of the one result of a job."""
        until(lambda: self.of(job_id, "result"), f"no result of {job_id}")
        [body] = self.of(job_id, "result")
        return body

    def of(self, job_id: str, kind: str) -> list[dict[str, Any]]:
        return [p.body for p in list(self.posts) if p.job_id == job_id and p.kind == kind]


def job(job_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": job_id, "input": {"prompt": "calm piano", "duration": 0.2, "seed": 7} | fields}


def until(condition: Callable[[], object], otherwise: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.01)


@contextmanager
def runpod_queue() -> Iterator[Queue]:
    """The queue's server, in a thread with a loop of its own."""
    queue = Queue()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(_application(queue), shutdown_timeout=1.0)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()

    asyncio.run_coroutine_threadsafe(start(), loop).result(DEADLINE)
    queue.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield queue
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(DEADLINE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE)
        loop.close()


@dataclass
class Worker:
    """A process of runpod_handler.py and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def ended(self) -> int:
        """Waits for its end. Returns: its exit status."""
        return self.process.wait(DEADLINE)


@contextmanager
def runpod_worker(queue: Queue, folder: Path, **settings: str) -> Iterator[Worker]:
    """A worker that takes its jobs from `queue`; `settings` are variables of its environment."""
    base = f"{queue.url}/v2/ep1"
    variables = {
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID",
        "RUNPOD_PING_INTERVAL": "1000",
        "RUNPOD_POD_ID": "w1",
        "RUNPOD_AI_API_KEY": "queue-key",
        "RUNPOD_ENDPOINT_ID": "ep1",
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
    }
    with local_process(folder, [], **variables | settings) as worker:
        until(lambda: queue.asked or worker.process.poll() is not None, "the worker asks for none")
        assert worker.process.poll() is None, worker.log.read_text()
        yield worker


@contextmanager
def local_process(folder: Path, arguments: list[str], **settings: str) -> Iterator[Worker]:
    """runpod_handler.py with `arguments`, stopped by its own pid if it has not ended."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "temporary").mkdir()
    environment = os.environ | {
        "HOME": str(folder),
        "TMPDIR": str(folder / "temporary"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MUSICGEN_MODEL": "demo",
        "MUSICGEN_THREADS": "1",
        "MUSICGEN_DATA_DIR": str(folder / "outputs"),
        **settings,
    }
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "runpod_handler.py", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Worker(process, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _application(queue: Queue) -> web.Application:
    async def take(request: web.Request) -> web.Response:
        jobs = await _jobs(queue, request, 1)
        return web.json_response(jobs[0]) if jobs else web.Response(status=204)

    async def take_batch(request: web.Request) -> web.Response:
        jobs = await _jobs(queue, request, int(request.query["batch_size"]))
        return web.json_response(jobs) if jobs else web.Response(status=204)

    async def stop(_: web.Request) -> web.Response:
        end = time.monotonic() + queue.hold_seconds
        while not queue.to_stop and time.monotonic() < end:
            await asyncio.sleep(0.01)
        stopped, queue.to_stop = queue.to_stop, []
        return web.json_response({"jobsToStop": stopped}) if stopped else web.Response(status=204)

    async def done(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        is_update = body.get("status") == "IN_PROGRESS"
        if is_update:
            queue.on_their_way += 1
            await asyncio.sleep(queue.update_seconds)
            queue.on_their_way -= 1
        elif queue.refused < queue.refusals:
            queue.refused += 1
            return web.Response(status=500)
        return _noted(queue, "update" if is_update else "result", request, body)

    async def stream(request: web.Request) -> web.Response:
        return _noted(queue, "stream", request, json.loads(await request.read()))

    async def ping(request: web.Request) -> web.Response:
        queue.pings.append(dict(request.query))
        return web.Response()

    application = web.Application(client_max_size=BODY_MAX_BYTES)
    application.add_routes([
        web.get("/v2/ep1/job-take/{worker}", take),
        web.get("/v2/ep1/job-take-batch/{worker}", take_batch),
        web.get("/v2/ep1/job-stop/{worker}", stop),
        web.post("/v2/ep1/job-done/{worker}/{job}", done),
        web.post("/v2/ep1/job-stream/{worker}/{job}", stream),
        web.get("/v2/ep1/ping/{worker}", ping),
    ])  # fmt: skip
    return application


async def _jobs(queue: Queue, request: web.Request, most: int) -> list[dict[str, Any]]:
    queue.asked.append({"batch_size": "1", **request.query})
    end = time.monotonic() + queue.hold_seconds
    while True:
        with queue.lock:
            jobs = [queue.waiting.popleft() for _ in range(min(most, len(queue.waiting)))]
        if jobs or time.monotonic() > end:
            return jobs
        await asyncio.sleep(0.01)


def _noted(queue: Queue, kind: str, request: web.Request, body: dict[str, Any]) -> web.Response:
    queue.posts.append(Post(kind, request.match_info["job"], body))
    return web.Response()
