"""Measure how much later a caller hears live audio through a bucket than through a shared folder.

    python bench/live_delay.py [--seconds 20] [--clips 2]

Starts PostgreSQL, SeaweedFS and two API processes on loopback. This process is the worker: it
writes a piece of each clip ten times a second, each with its time. One caller for each clip reads
the live audio of both APIs. The last line is one JSON object, with the delay from writing to
reading in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import struct
import sys
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from handlers.job_api.store import jobs, queue
from handlers.job_api.store.api_keys import ANONYMOUS
from handlers.job_api.store.database import Pool, database_url, open_pool, query
from handlers.job_api.store.files import JobFiles
from handlers.job_api.store.schema import migrate
from musicgen.settings import BucketSettings
from musicgen.storage.objects import BucketObjects
from tests.support.bucket_settings import bucket_settings
from tests.support.job_server import JobServer, data_folder, job_server
from tests.support.seaweedfs import seaweedfs

PIECE_SECONDS = 0.1
PIECE_BYTES = 6400
"""Size of `PIECE_SECONDS` of a mono wav at 32 kHz."""
LIMITS = jobs.JobLimits(queue_max=100, jobs_per_key=100)


async def measure(
    pool: Pool, server: JobServer, files: JobFiles, clips: int, seconds: float
) -> list[float]:
    """Return the delay of each piece in seconds."""
    app = await queue.open_queue(pool)
    request = {"prompt": "piano", "variations": clips}
    new = jobs.NewJob(ANONYMOUS, request, "hash", seconds)
    job_id = await jobs.submit(pool, app, new, LIMITS, "nobody")
    rows = await query(pool, "SELECT queue_id FROM musicgen_jobs WHERE id = %s", job_id)
    run = await jobs.begin(pool, job_id, rows[0]["queue_id"], "bench")
    assert run is not None, "nobody else takes the job"
    delays: list[float] = []
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=60) as http,
        AsyncExitStack() as stack,
    ):
        live = await stack.enter_async_context(files.live.open(pool, run, clips))
        listeners: list[asyncio.Task[None]] = []
        for number in range(round(seconds / PIECE_SECONDS)):
            piece = struct.pack("<d", time.time()).ljust(PIECE_BYTES, b"\0")
            await live.write([piece] * clips)
            await jobs.advance(pool, run, 0.5, streams=live.has_audio)
            if live.has_audio and not listeners:
                listeners = [
                    asyncio.create_task(listen(http, job_id, clip + 1, number, delays))
                    for clip in range(clips)
                ]
            await asyncio.sleep(PIECE_SECONDS)
        await live.finish()
        await jobs.fail(pool, run, {"code": "done", "message": "The measurement is over."})
        # The live files are deleted here, which ends their readers.
        await stack.aclose()
        await asyncio.gather(*listeners)
    return delays


async def listen(
    http: httpx.AsyncClient, job_id: str, clip: int, skipped: int, delays: list[float]
) -> None:
    """Read the live audio of a clip; the first `skipped` pieces were written before."""
    data, count = bytearray(), 0
    async with http.stream("GET", f"/v1/audio/{job_id}/stream", params={"clip": clip}) as answer:
        answer.raise_for_status()
        async for block in answer.aiter_raw():
            data += block
            while len(data) >= PIECE_BYTES:
                (written,) = struct.unpack_from("<d", data)
                del data[:PIECE_BYTES]
                count += 1
                if count > skipped + 1:
                    delays.append(time.time() - written)


def summarize(delays: list[float]) -> dict[str, float]:
    """Return the figures of one way, in seconds."""
    ordered = sorted(delays)
    return {
        "pieces": len(ordered),
        "median": round(statistics.median(ordered), 3),
        "p95": round(ordered[int(0.95 * len(ordered))], 3),
        "most": round(ordered[-1], 3),
    }


async def compare(clips: int, seconds: float) -> dict[str, dict[str, float]]:
    """Measure both ways, one after the other, and return the figures."""
    with ExitStack() as stack:
        folder = stack.enter_context(data_folder())
        url = database_url(None, folder)
        weed = stack.enter_context(TemporaryDirectory(prefix="musicgen-bucket-"))
        bucket = stack.enter_context(seaweedfs(Path(weed)))
        settings = bucket_settings(bucket, DATABASE_URL=url)
        objects = BucketObjects(
            BucketSettings.from_env({name: str(value) for name, value in settings.items()})
        )
        shared, own = folder / "shared", folder / "own"
        plain = stack.enter_context(job_server(shared, "api", DATABASE_URL=url))
        apart = stack.enter_context(job_server(own, "api", **settings))
        async with AsyncExitStack() as opened:
            pool = await opened.enter_async_context(open_pool(url))
            await migrate(pool)
            found = {}
            for name, server, files in (
                ("folder", plain, JobFiles(shared)),
                ("bucket", apart, JobFiles(folder / "worker", objects)),
            ):
                found[name] = summarize(await measure(pool, server, files, clips, seconds))
            return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20, help="length (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=2, help="clips (default: %(default)s)")
    options = parser.parse_args()
    found = asyncio.run(compare(options.clips, options.seconds))
    for name, figures in found.items():
        sys.stdout.write(f"{name}: {figures}\n")
    sys.stdout.write(json.dumps({"name": "live_delay", **found}) + "\n")


if __name__ == "__main__":
    main()
