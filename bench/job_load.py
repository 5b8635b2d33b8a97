"""Send a thousand jobs from fifty callers, and kill workers and restart the database meanwhile.

    python bench/job_load.py [--jobs 1000] [--callers 50] [--workers 2] [--kill-every 4]

Starts `musicgen serve all` on this machine with the demo model, sends it short jobs, kills one
worker with SIGKILL every few seconds and restarts PostgreSQL once. Every job must end exactly once,
with the audio of its seed. First, the time of the database and the queue is measured for each job,
without any generation. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import signal
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import psutil
from procrastinate.jobs import Status

from handlers.job_api.store import jobs, queue
from handlers.job_api.store.database import open_pool, query
from handlers.job_api.store.embedded_postgres import EmbeddedServer
from handlers.job_api.store.schema import migrate
from tests.support.job_server import JobServer, data_folder, job_server

SECONDS_OF_AUDIO, SEEDS, CANCELLED_SHARE = 0.2, 20, 0.05
OVERHEAD_JOBS = 500


@dataclass
class LoadRecord:
    """Record of a run. `latencies`: seconds of the API's calls, by kind."""

    ends: dict[str, str] = field(default_factory=dict)
    hashes: dict[int, set[str]] = field(default_factory=dict)
    attempts: Counter[int] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    kills: int = 0
    restarts: int = 0
    seconds: float = 0.0


async def run_load(
    server: JobServer, count: int, callers: int, kill_every: float, restart_at: float
) -> LoadRecord:
    """Run `count` jobs. `restart_at`: the share of finished jobs at the restart of the database."""
    load = LoadRecord()
    waiting = asyncio.Queue[int]()
    for number in range(count):
        waiting.put_nowait(number)
    began = time.monotonic()
    limits = httpx.Limits(max_connections=callers + 4)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as http:
        chaos = asyncio.create_task(_chaos(server, load, count, kill_every, restart_at))
        await asyncio.gather(*(_caller(http, waiting, load) for _ in range(callers)))
        chaos.cancel()
        await asyncio.gather(chaos, return_exceptions=True)
    load.seconds = time.monotonic() - began
    return load


async def _caller(http: httpx.AsyncClient, waiting: asyncio.Queue[int], load: LoadRecord) -> None:
    while not waiting.empty():
        number = waiting.get_nowait()
        body = {"prompt": "piano", "duration": SECONDS_OF_AUDIO, "seed": number % SEEDS}
        key = {"Idempotency-Key": f"load-{number}"}
        job_id = (await _ask(http, load, "submit", "POST", "/generate", json=body, headers=key))[
            "job_id"
        ]
        if random.random() < CANCELLED_SHARE:
            await _ask(http, load, "cancel", "POST", f"/v1/jobs/{job_id}/cancel")
        status = await _wait_for_end(http, load, job_id)
        if job_id in load.ends:
            load.wrong.append(f"{job_id} ended twice")
        load.ends[job_id] = status["status"]
        load.attempts[status["attempt"]] += 1
        if status["status"] == "completed":
            await _check_sound(http, load, number % SEEDS, status)


async def _wait_for_end(http: httpx.AsyncClient, load: LoadRecord, job_id: str) -> dict[str, Any]:
    while True:
        status = await _ask(http, load, "status", "GET", f"/status/{job_id}")
        if status["status"] in jobs.FINAL:
            return status
        await asyncio.sleep(0.5)


async def _check_sound(
    http: httpx.AsyncClient, load: LoadRecord, seed: int, status: dict[str, Any]
) -> None:
    clip = status["result"]["clips"][0]
    answer = await _send(http, load, "audio", "GET", clip["url"])
    digest = hashlib.sha256(answer.content).hexdigest()
    if digest != clip["sha256"] or clip["seed"] != seed:
        load.wrong.append(f"{status['job_id']}: the audio has another hash or seed")
    # Tags depend on the seed alone, so whole files are comparable.
    load.hashes.setdefault(seed, set()).add(digest)


async def _ask(
    http: httpx.AsyncClient, load: LoadRecord, kind: str, method: str, path: str, **more: Any
) -> dict[str, Any]:
    return dict((await _send(http, load, kind, method, path, **more)).json())


async def _send(
    http: httpx.AsyncClient, load: LoadRecord, kind: str, method: str, path: str, **more: Any
) -> httpx.Response:
    """Send a call and repeat it after 429 and 503; every call of this API may be repeated."""
    while True:
        began = time.perf_counter()
        answer = await http.request(method, path, **more)
        load.latencies.setdefault(kind, []).append(time.perf_counter() - began)
        if answer.status_code not in (429, 503):
            answer.raise_for_status()
            return answer
        await asyncio.sleep(float(answer.headers.get("retry-after", 1)))


async def _chaos(
    server: JobServer, load: LoadRecord, count: int, kill_every: float, restart_at: float
) -> None:
    parent = psutil.Process(server.process.pid)
    while True:
        await asyncio.sleep(kill_every)
        workers = [child for child in parent.children() if "worker" in child.cmdline()]
        if workers:
            random.choice(workers).send_signal(signal.SIGKILL)
            load.kills += 1
        if not load.restarts and len(load.ends) >= restart_at * count:
            load.restarts += 1
            pid_file = server.folder / "postgres" / "postmaster.pid"
            psutil.Process(int(pid_file.read_text().split()[0])).send_signal(signal.SIGINT)


async def measure_overhead(url: str, count: int) -> dict[str, float]:
    """Return the queue's milliseconds for a job: to submit it, and to fetch and finish it."""
    async with open_pool(url) as pool:
        await migrate(pool)
        app = await queue.open_queue(pool)
        limits = jobs.JobLimits(queue_max=10**6, jobs_per_key=10**6)
        new = jobs.NewJob("load", {"prompt": "x"}, "h", 1.0)
        began = time.perf_counter()
        for _ in range(count):
            await jobs.submit(pool, app, new, limits, queue.LOCAL)
        submitting = time.perf_counter() - began
        worker = await app.job_manager.register_worker()
        began = time.perf_counter()
        while task := await app.job_manager.fetch_job(queues=[queue.LOCAL], worker_id=worker):
            assert task.id is not None
            run = await jobs.begin(pool, task.task_kwargs["job_id"], task.id, "w")
            assert run is not None
            await jobs.complete(pool, run, {"clips": []})
            await app.job_manager.finish_job_by_id_async(
                task.id, Status.SUCCEEDED, delete_job=False
            )
        running = time.perf_counter() - began
        await query(pool, "DELETE FROM musicgen_jobs")
    return {"submit_ms": 1000 * submitting / count, "run_ms": 1000 * running / count}


def summarize(load: LoadRecord) -> dict[str, Any]:
    """Return the figures of a run; `wrong` has the jobs without exactly one end."""
    ends = Counter(load.ends.values())
    return {
        "jobs": len(load.ends),
        "ends": dict(ends),
        "attempts": {str(number): jobs for number, jobs in sorted(load.attempts.items())},
        "sounds_of_a_seed": max((len(hashes) for hashes in load.hashes.values()), default=0),
        "kills": load.kills,
        "database_restarts": load.restarts,
        "seconds": round(load.seconds, 1),
        "wrong": load.wrong,
        "latency_ms": {kind: _percentiles(times) for kind, times in sorted(load.latencies.items())},
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100) if len(seconds) > 1 else [seconds[0]] * 99
    return {f"p{p}": round(1000 * cuts[p - 1], 1) for p in (50, 95, 99)} | {"calls": len(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill-every", type=float, default=4.0, metavar="S")
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    options = parser.parse_args()
    settings = {
        "MUSICGEN_WORKER_TIMEOUT": 6,
        "MUSICGEN_JOBS_PER_KEY": 2 * options.callers,
        "MUSICGEN_RATE_LIMIT": "1000000/minute",
        "MUSICGEN_ATTEMPTS": 10,
    }
    with data_folder() as folder, EmbeddedServer(folder) as database:
        cost = asyncio.run(measure_overhead(database.url, OVERHEAD_JOBS))
    with data_folder() as folder, job_server(folder, workers=options.workers, **settings) as server:
        load = asyncio.run(
            run_load(server, options.jobs, options.callers, options.kill_every, restart_at=0.5)
        )
    result = {"name": "job_load", "queue": cost, "ratios": {}, **summarize(load)}
    text = json.dumps(result)
    if options.output is not None:
        options.output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
