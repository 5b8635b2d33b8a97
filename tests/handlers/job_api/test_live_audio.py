"""Live audio through the bucket never costs a job its clip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from handlers.job_api.store import jobs, live_audio, queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.live_audio import BucketLive
from musicgen.settings import BucketSettings
from musicgen.storage.objects import BucketObjects
from tests.support.s3_server import Bucket, s3_server

WithPool = Callable[[Callable[[Pool], Awaitable[Any]]], Any]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with s3_server() as running:
        yield running


async def _begin(pool: Pool) -> jobs.WorkerRun:
    app = await queue.open_queue(pool)
    new = jobs.NewJob("me", {"prompt": "piano", "variations": 2}, "hash", 1.0)
    job_id = await jobs.submit(pool, app, new, jobs.JobLimits(9, 9), queue.LOCAL)
    rows = await query(pool, "SELECT queue_id FROM musicgen_jobs WHERE id = %s", job_id)
    run = await jobs.begin(pool, job_id, rows[0]["queue_id"], "worker")
    assert run is not None
    return run


def test_segments_are_announced_when_they_are_there_and_go_at_the_end(
    bucket: Bucket, with_pool: WithPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_audio, "SEGMENT_SECONDS", 0.05)
    objects = BucketObjects(BucketSettings.from_env(bucket.env))

    async def work(pool: Pool) -> None:
        run = await _begin(pool)
        live = BucketLive(objects, kept_seconds=0.2)
        async with live.open(pool, run, 2) as writer:
            assert not writer.has_audio
            for piece in (b"a" * 100, b"b" * 100, b"c" * 100):
                await writer.write([piece, piece[:50]])
                await asyncio.sleep(0.1)
            await writer.write([b"d", b""])
            await writer.finish()
            assert writer.has_audio
            row = await jobs.get(pool, run.id)
            assert row is not None and row["streams"]
            counts = row["live_segments"]
            parts = [
                b"".join(live.read(run.name, clip + 1, n) for n in range(counts[clip]))
                for clip in range(2)
            ]
            assert parts[0] == b"a" * 100 + b"b" * 100 + b"c" * 100 + b"d"
            assert parts[1] == b"a" * 50 + b"b" * 50 + b"c" * 50
            assert counts[0] > 1
        assert list(objects.scan(f"musicgen/live/{run.name}/"))
        await asyncio.sleep(1)
        assert not list(objects.scan(f"musicgen/live/{run.name}/"))

    with_pool(work)


def test_a_bucket_that_is_away_ends_the_live_audio_alone(
    bucket: Bucket, with_pool: WithPool
) -> None:
    settings = replace(BucketSettings.from_env(bucket.env), endpoint_url="http://127.0.0.1:9")

    async def work(pool: Pool) -> None:
        run = await _begin(pool)
        async with BucketLive(BucketObjects(settings)).open(pool, run, 2) as writer:
            await writer.write([b"a", b"a"])
            await writer.finish()
            await writer.write([b"b", b"b"])
            assert not writer.has_audio
            assert await jobs.advance(pool, run, 0.5, streams=writer.has_audio)
        row = await jobs.get(pool, run.id)
        assert row is not None and row["state"] == "running" and not row["streams"]

    with_pool(work)
