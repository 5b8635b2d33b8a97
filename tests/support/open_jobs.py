"""Jobs of an API without a worker: one that has ended with a clip, and one with live sound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from handlers.job_api.store import jobs
from handlers.job_api.store.database import Pool, open_pool, query
from handlers.job_api.store.files import JobFiles
from musicgen.storage.base import ClipFile, ClipName
from tests.support.clips import wav
from tests.support.job_server import JobServer


@asynccontextmanager
async def open_jobs(server: JobServer, database: str) -> AsyncIterator[tuple[str, str]]:
    """The ids of the ended job and of the one with live sound, which ends with the context."""
    files = JobFiles(server.folder)
    async with open_pool(database) as pool:
        ended, live = [await _begin(pool, server.submit()) for _ in range(2)]
        name = ClipName(ended.name, 0, 1, "wav")
        [address] = files.storage.put_all([ClipFile(name, [wav(20)], "audio/wav")])
        clip = {"address": address, "seed": 1, "seconds": 20.0, "content_type": "audio/wav"}
        result = {"seed": 1, "seconds": 20.0, "model": "demo", "made_by": "local", "clips": [clip]}
        assert await jobs.complete(pool, ended, result)
        async with files.live.open(pool, live, 1) as writer:
            await writer.write([wav(20)])
            assert await jobs.advance(pool, live, 0.5, streams=True)
            yield ended.id, live.id


async def _begin(pool: Pool, job_id: str) -> jobs.WorkerRun:
    [row] = await query(pool, "SELECT queue_id FROM musicgen_jobs WHERE id = %s", job_id)
    run = await jobs.begin(pool, job_id, row["queue_id"], "nobody")
    assert run is not None
    return run
