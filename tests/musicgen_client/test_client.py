"""The client against the real server: what it promises when all goes well, and when not."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from musicgen_client import (
    AsyncMusicGenClient,
    ConnectionFailed,
    InvalidRequest,
    Job,
    JobCancelled,
    JobFailed,
    MusicGenClient,
)
from tests.support import ROOT
from tests.support.clips import tone_file
from tests.support.job_server import JobServer, environment


def test_it_waits_and_saves(server: JobServer, tmp_path: Path) -> None:
    told: list[Job] = []
    with MusicGenClient(server.url) as client:
        job = client.generate(prompt="piano", duration=1, variations=2, seed=4, tell=told.append)
        paths = client.save(job, tmp_path / "new" / "piano.wav")
    assert [path.name for path in paths] == ["piano-1.wav", "piano-2.wav"]
    for path, clip in zip(paths, job.clips, strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == clip.sha256
    assert [clip.seed for clip in job.clips] == [4, 5]
    assert (job.made_by, job.licence) == ("local", "Apache-2.0")
    assert told[-1].status == "completed"


def test_in_an_event_loop_many_go_side_by_side(server: JobServer) -> None:
    async def all_of_them() -> list[Job]:
        async with AsyncMusicGenClient(server.url) as client:
            calls = (client.generate(prompt="x", duration=0.3, seed=seed) for seed in range(6))
            jobs = await asyncio.gather(*calls)
            sounds = [await client.audio(job.clips[0]) for job in jobs]
            assert len(set(sounds)) == 6
            assert (await client.models()).default == "demo"
            return jobs

    jobs = asyncio.run(all_of_them())
    assert [job.clips[0].seed for job in jobs] == list(range(6))


def test_a_file_is_uploaded(server: JobServer, tmp_path: Path) -> None:
    path = tone_file(tmp_path / "a.wav", 1.0)
    with MusicGenClient(server.url) as client:
        job = client.generate(prompt="x", input_audio=path, continuation=True, duration=1.5)
    assert job.request["input_audio"].startswith("upload:")


def test_what_is_wrong_is_said(server: JobServer) -> None:
    with MusicGenClient(server.url) as client:
        with pytest.raises(InvalidRequest, match="422: invalid_duration: duration must") as refused:
            client.submit(prompt="x", duration=-1)
        assert (refused.value.status, refused.value.code) == (422, "invalid_duration")
        assert refused.value.field == "duration"
        assert refused.value.request_id and len(refused.value.request_id) == 32
        job_id = client.submit(prompt="x", duration=200)
        assert client.cancel(job_id).status == "cancelled"
        with pytest.raises(JobCancelled):
            client.wait(job_id)
        with pytest.raises(JobFailed, match="input_audio_refused") as failed:
            client.generate(prompt="x", input_audio="http://10.0.0.1/x", continuation=True)
        assert failed.value.code == "input_audio_refused"


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicgen_client.sending.FIRST_PAUSE_SECONDS", 0.01)
    with MusicGenClient("http://127.0.0.1:9") as client, pytest.raises(ConnectionFailed):
        client.submit(prompt="x")


@pytest.fixture
def unreliable(server: JobServer) -> Iterator[tuple[str, list[str]]]:
    """Passes calls on to the server, and loses every second answer."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            asked.append(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            kept = ("content-type", "idempotency-key")
            headers = {k: v for k, v in self.headers.items() if k.lower() in kept}
            answer = httpx.request(
                self.command, server.url + self.path, content=body, headers=headers
            )
            if len(asked) % 4 == 1:
                self.connection.close()
                return
            status = 503 if len(asked) % 4 == 3 else answer.status_code
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_DELETE = _pass_on  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_address[1]}", asked
    proxy.shutdown()


def test_lost_answers_make_no_second_job(
    server: JobServer, unreliable: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musicgen_client.sending.FIRST_PAUSE_SECONDS", 0.01)
    url, asked = unreliable
    before = len(server.http.get("/v1/jobs", params={"limit": 100}).json()["jobs"])
    with MusicGenClient(url) as client:
        job = client.generate(prompt="x", duration=0.3)
        assert client.audio(job.clips[0])
    assert asked.count("/v1/generate") > 1
    assert len(server.http.get("/v1/jobs", params={"limit": 100}).json()["jobs"]) == before + 1


def test_the_command_line_asks_a_server(server: JobServer, tmp_path: Path) -> None:
    command = ["generate", "calm piano", "--duration", "0.5", "--seed", "9", "--json"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "handlers.cli", *command),
            *("--server", server.url, "-o", str(tmp_path / "a.wav")),
        ],
        cwd=ROOT,
        env=environment(tmp_path / "unused"),
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    data = (tmp_path / "a.wav").read_bytes()
    assert told["result"]["clips"][0]["sha256"] == hashlib.sha256(data).hexdigest()
    assert re.search(r"waiting|made", done.stderr) and "\r" not in done.stderr
    assert not (tmp_path / "unused").exists()
