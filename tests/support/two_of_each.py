"""Scenarios of two APIs and two workers that share the database and the bucket, and no folder.

The processes may be those of this machine or of containers.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import soundfile as sf

from tests.support.api_caller import FINAL, ApiCaller

PREFIX = "musicgen/"
LISTEN_SECONDS = 20


@dataclass
class Site:
    """One site: its APIs, the data folders of all four, the database, and the bucket.

    `delete_expired` deletes jobs and uploads older than 100 hours at least.
    """

    apis: Sequence[ApiCaller]
    folders: Sequence[Path]
    database: str
    bucket: str
    s3: Any
    delete_expired: Callable[[], None]

    def keys(self, prefix: str) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=PREFIX + prefix)
        return [item["Key"] for item in listed.get("Contents", [])]

    def execute(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def makers(self, *job_ids: str) -> set[object]:
        """The names of the workers of these jobs."""
        found = self.execute("SELECT maker FROM musicgen_jobs WHERE id = ANY(%s)", list(job_ids))
        return {maker for (maker,) in found}


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def continue_uploads(site: Site, folder: Path) -> None:
    """Upload at one API and generate at the other, with sounds inside calls too."""
    first, second = site.apis
    made = first.ended(first.submit(duration=1, seed=3))
    sound = second.http.get(made["audio_url"]).content
    upload = first.http.post("/v1/uploads", content=sound).json()
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
        path = folder / "continued.wav"
        path.write_bytes(first.http.get(f"/audio/{job_id}.wav").content)
        assert sf.info(path).duration == pytest.approx(2, abs=0.05)
    assert len(site.makers(*ids)) == 2, "both workers took some"
    assert f"{PREFIX}uploads/{upload['upload_id']}" in site.keys("uploads/")
    assert all(folder.is_dir() for folder in site.folders)
    assert not any(path.is_file() for folder in site.folders for path in folder.glob("uploads/*"))


def listen_at_both(site: Site) -> None:
    """Hear the second variation at both APIs while a worker makes it."""
    first, second = site.apis
    job_id = first.submit(duration=LISTEN_SECONDS, variations=2)
    second.until(job_id, lambda now: now["stream_url"], 60)
    heard: dict[int, bytes] = {}
    at_first: list[str] = []

    def listen(index: int, api: ApiCaller) -> None:
        parts = []
        with api.http.stream("GET", f"/v1/audio/{job_id}/stream", params={"clip": 2}) as answer:
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
    # 16-bit samples at 32 kHz, after a header.
    assert len(heard[0]) >= LISTEN_SECONDS * 32_000 * 2


def fetch_variations_at_both(site: Site) -> None:
    """Fetch each clip of a job at each API, and as another format at the one without the job."""
    first, second = site.apis
    job_id = first.submit(variations=3, seed=11)
    assert second.ended(job_id)["status"] == "completed"
    clips = []
    for name in (f"{job_id}.wav", f"{job_id}-2.wav", f"{job_id}-3.wav"):
        answers = [api.http.get(f"/audio/{name}") for api in site.apis]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].content == answers[1].content
        clips.append(answers[0].content)
    assert len(set(clips)) == 3
    assert second.http.get(f"/audio/{job_id}-2.flac").content.startswith(b"fLaC")


def submit_once_at_both(site: Site) -> None:
    """Send one call to both APIs at once, and follow its events at each."""
    body = {"prompt": "piano", "duration": 0.5, "seed": 5}
    headers = {"Idempotency-Key": f"twice-{time.time_ns()}"}

    def send(api: ApiCaller) -> str:
        answer = api.http.post("/generate", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def follow(api: ApiCaller) -> dict[str, Any]:
        answer = api.http.get(f"/v1/jobs/{job_id}/events")
        lines = [line for line in answer.text.splitlines() if line.startswith("data:")]
        return dict(json.loads(lines[-1].removeprefix("data:")))

    with ThreadPoolExecutor(2) as both:
        [job_id] = set(both.map(send, site.apis))
        last, same = both.map(follow, site.apis)
    assert last["status"] == "completed" and last == same
    assert last["attempt"] == 1


def cancel_at_the_other(site: Site) -> None:
    """Cancel at one API a running job that came in at the other."""
    first, second = site.apis
    job_id = first.submit(duration=300)
    first.until(job_id, lambda now: now["stream_url"], 60)
    assert second.http.delete(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
    assert second.http.get(f"/v1/audio/{job_id}/stream").status_code == 409
    assert first.status(job_id)["status"] == "cancelled"
    wait_for(lambda: not site.keys(f"{job_id}-"))
    # The worker has a slot again.
    ids = [api.submit(seed=seed) for seed, api in enumerate([*site.apis] * 2)]
    assert {second.ended(job_id)["status"] for job_id in ids} == {"completed"}


def expire_at_the_other(site: Site) -> None:
    """Delete the expired job and upload, and no others, in the bucket too."""
    first, second = site.apis
    old, new = (first.ended(first.submit())["job_id"] for _ in range(2))
    sound = first.http.get(f"/audio/{old}.wav").content
    uploads = [first.http.post("/v1/uploads", content=sound).json()["upload_id"] for _ in range(2)]
    assert site.keys(f"{old}-")
    past = "now() - interval '1000 hours' WHERE id = %s"
    site.execute(f"UPDATE musicgen_jobs SET finished_at = {past}", old)
    site.execute(f"UPDATE musicgen_uploads SET created_at = {past}", uploads[0])
    site.delete_expired()
    wait_for(lambda: not site.keys(f"{old}-") and not site.keys(f"uploads/{uploads[0]}"))
    assert site.keys(f"{new}-") and site.keys(f"uploads/{uploads[1]}")
    wait_for(lambda: second.http.get(f"/audio/{old}.wav").status_code == 404)
    refused = second.http.post(
        "/generate", json={"prompt": "piano", "input_audio": f"upload:{uploads[0]}"}
    )
    assert refused.status_code == 422
    assert second.http.get(f"/audio/{new}.wav").status_code == 200


def lose_a_worker(site: Site, stop: Callable[[str], None], seconds: float) -> None:
    """Stop the worker of a running job by its name: the other one completes it, heard again."""
    first, second = site.apis
    job_id = first.submit(duration=60, seed=9)
    running = first.until(job_id, lambda now: now["stream_url"], 60)
    [maker] = site.makers(job_id)
    stop(str(maker))
    status = second.until(
        job_id,
        lambda now: now["status"] in FINAL or now["attempt"] > running["attempt"],
        seconds,
    )
    assert status["attempt"] == running["attempt"] + 1, status
    assert second.ended(job_id, 180)["status"] == "completed"
    assert site.makers(job_id) != {maker}
    assert first.http.get(f"/audio/{job_id}.wav").status_code == 200
