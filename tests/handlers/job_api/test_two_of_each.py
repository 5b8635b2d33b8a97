"""Two API processes and two workers that share the database and the bucket, and no folder."""

from __future__ import annotations

import base64
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import soundfile as sf

from tests.support.bucket_settings import bucket_settings
from tests.support.job_server import (
    JobServer,
    environment,
    job_server,
    start,
    stop,
    wait_until_ready,
)
from tests.support.retention import delete_abandoned, delete_expired
from tests.support.seaweedfs import BUCKET, SeaweedFS, seaweedfs


@dataclass
class Site:
    """Processes of one site: `apis`, `workers` by name of their folders, database and bucket."""

    apis: list[JobServer]
    workers: list[subprocess.Popen[bytes]]
    folders: list[Path]
    database: str
    bucket: SeaweedFS

    def keys(self, prefix: str) -> list[str]:
        listed = self.bucket.client().list_objects_v2(Bucket=BUCKET, Prefix=f"musicgen/{prefix}")
        return [item["Key"] for item in listed.get("Contents", [])]

    def execute(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def site(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE shared")
    database = postgres.replace("/postgres?", "/shared?")
    root = tmp_path_factory.mktemp("site")
    folders = [root / name for name in ("api-1", "api-2", "worker-1", "worker-2")]
    with ExitStack() as stack:
        bucket = stack.enter_context(seaweedfs(tmp_path_factory.mktemp("weed")))
        settings = bucket_settings(bucket, DATABASE_URL=database, MUSICGEN_WORKER_TIMEOUT=6)
        apis = [
            stack.enter_context(job_server(folder, "api", **settings)) for folder in folders[:2]
        ]
        workers = []
        for folder in folders[2:]:
            folder.mkdir()
            env = environment(folder, **settings)
            workers.append(start("worker", env, folder.with_name(f"{folder.name}.log")))
            stack.callback(stop, workers[-1])
        wait_until_ready(apis[0].http, apis[0].process, root / "worker-1.log", 2)
        yield Site(apis, workers, folders, database, bucket)


def _wait(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def test_an_upload_is_continued_by_any_worker(site: Site, tmp_path: Path) -> None:
    """An upload was a file of one machine, and the worker of another one failed the job."""
    first, second = site.apis
    made = first.ended(first.submit(duration=1, seed=3))
    sound = second.http.get(made["audio_url"]).content
    upload = first.http.post("/uploads", content=sound).json()
    inline = f"data:audio/wav;base64,{base64.b64encode(sound).decode()}"
    # As many jobs as make both workers take some, whichever API took the upload.
    ids = [
        api.submit(input_audio=audio, continuation=True, duration=2, seed=seed)
        for seed, (api, audio) in enumerate(
            [(api, audio) for api in site.apis for audio in (upload["input_audio"], inline)] * 2
        )
    ]
    for job_id in ids:
        assert second.ended(job_id)["status"] == "completed", second.status(job_id)
        path = tmp_path / "continued.wav"
        path.write_bytes(first.http.get(f"/audio/{job_id}.wav").content)
        assert sf.info(path).duration == pytest.approx(2, abs=0.05)
    makers = site.execute("SELECT DISTINCT maker FROM musicgen_jobs WHERE id = ANY(%s)", ids)
    assert len(makers) == 2, "both workers took some"
    assert f"musicgen/uploads/{upload['upload_id']}" in site.keys("uploads/")
    assert not any(path.is_file() for folder in site.folders for path in folder.glob("uploads/*"))


def test_sound_is_heard_through_either_api_while_it_is_made(site: Site) -> None:
    """Live audio was a file on the worker's machine. Two callers of two APIs hear the same."""
    first, second = site.apis
    job_id = first.submit(duration=20, variations=2)
    second.until(job_id, lambda now: now["stream_url"], 60)
    heard: dict[int, bytes] = {}
    at_first: list[str] = []

    def listen(index: int, api: JobServer) -> None:
        parts = []
        with api.http.stream("GET", f"/audio/{job_id}/stream", params={"clip": 2}) as answer:
            assert answer.status_code == 200
            for block in answer.iter_bytes():
                if not parts:
                    at_first.append(second.status(job_id)["status"])
                parts.append(block)
        heard[index] = b"".join(parts)

    listeners = [
        threading.Thread(target=listen, args=(index, api)) for index, api in enumerate(site.apis)
    ]
    for listener in listeners:
        listener.start()
    for listener in listeners:
        listener.join(90)
    assert first.ended(job_id)["status"] == "completed"
    assert at_first == ["running", "running"]
    assert heard[0] == heard[1]
    # 20 s of 16-bit samples at 32 kHz, after a header.
    assert len(heard[0]) >= 20 * 32_000 * 2
    assert second.http.get(f"/audio/{job_id}-2.wav").status_code == 200


def test_a_cancelled_job_ends_on_the_other_machine(site: Site) -> None:
    first, second = site.apis
    job_id = first.submit(duration=300)
    first.until(job_id, lambda now: now["stream_url"], 60)
    assert second.http.delete(f"/jobs/{job_id}").json()["status"] == "cancelled"
    assert second.http.get(f"/audio/{job_id}/stream").status_code == 409
    _wait(lambda: not site.keys(f"{job_id}-"))


def test_what_is_past_its_time_leaves_the_bucket(site: Site) -> None:
    """Clips in the bucket were never deleted, and uploads only on the machine that took them."""
    first, second = site.apis
    old, new = (first.ended(first.submit())["job_id"] for _ in range(2))
    sound = first.http.get(f"/audio/{old}.wav").content
    uploads = [first.http.post("/uploads", content=sound).json()["upload_id"] for _ in range(2)]
    assert site.keys(f"{old}-")
    past = "now() - interval '1000 hours' WHERE id = %s"
    site.execute(f"UPDATE musicgen_jobs SET finished_at = {past}", old)
    site.execute(f"UPDATE musicgen_uploads SET created_at = {past}", uploads[0])
    delete_expired(site.database, site.folders[1], site.bucket)
    assert site.keys(f"{old}-") == [] and site.keys(f"{new}-")
    assert site.keys(f"uploads/{uploads[0]}") == [] and site.keys(f"uploads/{uploads[1]}")
    assert second.http.get(f"/audio/{old}.wav").status_code == 404
    refused = second.http.post(
        "/generate", json={"prompt": "piano", "input_audio": f"upload:{uploads[0]}"}
    )
    assert refused.status_code == 422


def test_a_killed_worker_leaves_no_live_sound(site: Site, tmp_path: Path) -> None:
    first, second = site.apis
    job_id = first.submit(duration=60)
    first.until(job_id, lambda now: now["stream_url"], 60)
    run = site.keys(f"live/{job_id}-")
    assert run
    delete_abandoned(site.database, tmp_path, site.bucket, after_seconds=0)
    assert site.keys(f"live/{job_id}-"), "a running job keeps its live audio"
    second.http.delete(f"/jobs/{job_id}")
    time.sleep(1.5)
    delete_abandoned(site.database, tmp_path, site.bucket, after_seconds=0)
    assert site.keys(f"live/{job_id}-") == []
