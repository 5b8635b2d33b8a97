"""Names, favourites, search, and many clips as one zip file."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from handlers.job_api.errors import TooManyFavourites
from handlers.job_api.store import history, jobs, queue, retention
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.files import JobFiles
from tests.support.job_server import JobServer

LIMITS = jobs.JobLimits(queue_max=100, jobs_per_key=100)
WithPool = Callable[[Callable[[Pool], Awaitable[Any]]], Any]


async def _submit(pool: Pool, **request: Any) -> str:
    app = await queue.open_queue(pool)
    return await jobs.submit(pool, app, jobs.NewJob("one", request, "h", 1.0), LIMITS, queue.LOCAL)


async def _find(pool: Pool, search: str) -> list[str]:
    rows = await history.list_jobs(pool, "one", 100, None, history.JobFilter(search=search))
    return [row["id"] for row in rows]


def test_a_search_finds_beginnings_of_words_in_name_and_prompts(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        bells = await _submit(pool, prompt="Fast high bells", output_format="flac")
        many = await _submit(pool, prompts=["AC/DC riff\nslow", "Übermut, 85bpm"])
        parts = await _submit(pool, prompt="x", sections=[{"prompt": "soft piano", "duration": 2}])
        await history.update_job(pool, "one", bells, history.JobChanges("Glöckchen (take 2)"), 1)
        for text, expected in {
            "bell": [bells],
            "HIGH fast": [bells],
            "glöck": [bells],
            "take 2": [bells],
            "flac": [],
            "dc": [many],
            "slow": [many],
            "übermut": [many],
            "ÜBER 85": [many],
            "pian": [parts],
            "bells piano": [],
            "' | !x:* & (": [parts],
            "": [parts, many, bells],
        }.items():
            assert await _find(pool, text) == expected, text

    with_pool(work)


def test_a_search_uses_the_index(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        words = history.build_search("piano")
        async with pool.connection() as connection:
            await connection.execute("SET enable_seqscan = off")
            plan = await connection.execute(
                "EXPLAIN SELECT id FROM musicgen_jobs "
                "WHERE musicgen_words(name, request) @@ %s::tsquery",
                [words],
            )
            assert "musicgen_jobs_words" in str(await plan.fetchall())

    with_pool(work)


def test_favourites_outlive_the_retention_up_to_a_limit(
    with_pool: WithPool, tmp_path: Path
) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        kept, other = [await _submit(pool, prompt="x") for _ in range(2)]
        for job_id in (kept, other):
            await jobs.cancel(pool, "one", job_id)
        favour = history.JobChanges(favourite=True)
        assert await history.update_job(pool, "one", kept, favour, 1)
        assert await history.update_job(pool, "one", kept, favour, 1), "it is one already"
        with pytest.raises(TooManyFavourites):
            await history.update_job(pool, "one", other, favour, 1)
        assert not await history.update_job(pool, "another", other, favour, 1)
        await query(pool, "UPDATE musicgen_jobs SET finished_at = now() - interval '1 year'")
        await retention.delete_expired(pool, JobFiles(tmp_path), 1, 1)
        assert await jobs.get(pool, other) is None
        row = await jobs.get(pool, kept)
        assert row is not None and row["favourite"]
        assert app is not None

    with_pool(work)


def test_many_favourites_at_once_keep_the_limit(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        ids = [await _submit(pool, prompt="x") for _ in range(8)]
        changes = history.JobChanges(favourite=True)
        calls = [history.update_job(pool, "one", job_id, changes, 3) for job_id in ids]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert ends.count(True) == 3
        assert sum(isinstance(end, TooManyFavourites) for end in ends) == 5

    with_pool(work)


def test_a_job_is_named_and_favoured(server: JobServer) -> None:
    job_id = server.submit(prompt="calm piano", duration=0.2)
    server.ended(job_id)

    def change(**fields: Any) -> httpx.Response:
        return server.http.patch(f"/v1/jobs/{job_id}", json=fields)

    status = change(name="  My \n song ", favourite=True).json()
    assert (status["name"], status["favourite"]) == ("My song", True)
    assert change(favourite=False).json()["name"] == "My song"
    listed = server.http.get("/v1/jobs", params={"search": "my so", "favourite": False}).json()
    assert [job["job_id"] for job in listed["jobs"]] == [job_id]
    assert server.http.get("/v1/jobs", params={"favourite": True}).json()["jobs"] == []
    name = server.http.head(f"/audio/{job_id}.wav").headers["content-disposition"]
    assert 'filename="my-song-' in name
    assert change(name=None).json()["name"] is None
    for wrong in ({"name": "x" * 81}, {"name": "a\0b"}, {"favourite": "yes"}, {"status": "done"}):
        assert change(**wrong).status_code == 422, wrong
    assert server.http.patch("/v1/jobs/" + "0" * 32, json={}).status_code == 404


def test_clips_of_several_jobs_come_as_one_zip(server: JobServer) -> None:
    ids = [
        server.submit(prompt="Fête, au café!", seed=7, variations=2, duration=0.3),
        server.submit(prompt="Fête, au café!", seed=7, duration=0.2),
        server.submit(duration=300),
    ]
    statuses = [server.ended(job_id) for job_id in ids[:2]]
    server.http.post(f"/v1/jobs/{ids[2]}/cancel")
    answer = server.http.get("/v1/jobs/zip", params={"id": [*ids, ids[0]]})
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].startswith('attachment; filename="musicgen-')
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            *("fête-au-café-7.wav", "fête-au-café-8.wav", "fête-au-café-7 (2).wav"),
        ]
        sounds = [archive.read(name) for name in archive.namelist()]
    urls = [url for status in statuses for url in status["audio_urls"]]
    assert sounds == [server.http.get(url).content for url in urls]
    head = server.http.head("/v1/jobs/zip", params={"id": ids})
    assert (head.status_code, head.content) == (200, b"")

    def refuse(*chosen: str) -> tuple[int, str]:
        refused = server.http.get("/v1/jobs/zip", params={"id": list(chosen)})
        return refused.status_code, refused.json()["error"]["code"]

    assert refuse(ids[2]) == (409, "not_there")
    assert refuse(ids[0], "0" * 32) == (404, "not_found")
    assert refuse(*[ids[0]] * 101) == (422, "invalid_request")
    assert refuse() == (422, "invalid_request")


def test_a_clip_without_its_file_is_named_in_the_zip(server: JobServer) -> None:
    ids = [server.submit(prompt=f"number {n}", seed=n, duration=0.2) for n in range(2)]
    for job_id in ids:
        server.ended(job_id)
    [lost] = server.folder.glob(f"clips/{ids[0]}-*/1.wav")
    lost.unlink()
    answer = server.http.get("/v1/jobs/zip", params={"id": ids})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["number-1-1.wav", "missing.txt"]
        assert "number-0-0.wav" in archive.read("missing.txt").decode()
