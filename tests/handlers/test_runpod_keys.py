"""Two callers and an operator: no server sees the credentials of another party, whatever happens.

The worker is a process of its own, with the operator's keys in its environment and its own log at
the most talkative level. Everything each server hears is recorded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from musicgen.storage.spool import Spool, UploadTarget
from tests.support import ROOT
from tests.support.recording_server import Recorder, record

OPERATOR = ("OPERATORS-KEY-ID", "operators-secret", "operators-session-token", "operators-hf-token")
CALLERS = {name: (f"KEYIDOF{name.upper()}", f"secret-of-{name}") for name in ("anna", "berta")}
WORKER = """
import asyncio, json, sys
from handlers.runpod_job import RunPodJobs
from musicgen.predictor import Predictor
from musicgen.process.logs import start_logging
from musicgen.settings import Settings

settings = Settings.from_env()
start_logging(settings.log_level)
jobs = RunPodJobs(Predictor.load(settings), settings)

async def work(batch):
    return await asyncio.gather(*(jobs.handle(job) for job in batch))

print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(asyncio.run(work(json.loads(line)))), flush=True)
"""


@dataclass
class Stage:
    """The three servers, the operator's environment, and the worker."""

    servers: dict[str, Recorder]
    env: dict[str, str]
    spool: Path
    log: Path
    said: list[str] = field(default_factory=list)
    worker: subprocess.Popen[str] | None = None

    def start_worker(self) -> subprocess.Popen[str]:
        with self.log.open("ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "-c", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=self.env,
            )
        assert self.worker.stdout is not None
        assert self.worker.stdout.readline() == "ready\n", self.log.read_text()
        return self.worker

    def send(self, *jobs: dict[str, Any]) -> None:
        assert self.worker is not None and self.worker.stdin is not None
        self.worker.stdin.write(json.dumps(jobs) + "\n")
        self.worker.stdin.flush()

    def run(self, *jobs: dict[str, Any]) -> list[dict[str, Any]]:
        self.send(*jobs)
        assert self.worker is not None and self.worker.stdout is not None
        replies: list[dict[str, Any]] = json.loads(self.worker.stdout.readline())
        return replies

    def job(self, owner: str, number: int) -> dict[str, Any]:
        job: dict[str, Any] = {
            "id": f"{owner}-{number}",
            "input": {"prompt": "x", "duration": 0.2, "seed": number},
        }
        if owner in CALLERS:
            key, secret = CALLERS[owner]
            url = self.servers[owner].url
            job["s3Config"] = {
                "accessId": key,
                "accessSecret": secret,
                "bucketName": f"bucket-of-{owner}",
                "endpointUrl": url,
            }
        return job

    def retry(self) -> tuple[int, list[dict[str, Any]]]:
        command = [sys.executable, "-m", "handlers.cli", "uploads", "retry", "--json"]
        ended = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True)
        self.said += [ended.stdout, ended.stderr]
        return ended.returncode, json.loads(ended.stdout)

    def check_secrets(self, *replies: dict[str, Any]) -> None:
        """No party's credentials outside its own server, and its own replies."""
        for name, server in self.servers.items():
            others = [s for other, secrets in SECRETS.items() if other != name for s in secrets]
            assert not [secret for secret in others if secret in server.transcript], name
        for reply in replies:
            owner = "" if "error" in reply else reply["job_id"].partition("-")[0]
            told = [secrets for name, secrets in SECRETS.items() if name != owner]
            hidden = {secret for secrets in told for secret in secrets} | ALWAYS_SECRET
            assert not [secret for secret in hidden if secret in json.dumps(reply)], reply
        kept = [path.read_bytes().decode("latin-1") for path in self.spool.rglob("*.json")]
        text = "".join([self.log.read_text(), *self.said, *kept])
        everything = [secret for secrets in SECRETS.values() for secret in secrets]
        assert not [secret for secret in everything if secret in text]


SECRETS = {"operator": OPERATOR, **CALLERS}
ALWAYS_SECRET = {OPERATOR[1], OPERATOR[3], *(secret for _, secret in CALLERS.values())}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        servers = {
            "operator": stack.enter_context(record("127.0.0.9")),
            "anna": stack.enter_context(record()),
            "berta": stack.enter_context(record()),
        }
        spool = tmp_path / "spool"
        env = os.environ | {
            "MUSICGEN_BUCKET": "operators-bucket",
            "MUSICGEN_BUCKET_ENDPOINT_URL": servers["operator"].url,
            "MUSICGEN_BUCKET_DEADLINE": "2",
            "MUSICGEN_BUCKET_NETWORKS": "127.0.0.1/32",
            "MUSICGEN_SPOOL_DIR": str(spool),
            "MUSICGEN_DATA_DIR": str(tmp_path / "data"),
            "MUSICGEN_LOG_LEVEL": "DEBUG",
            "MUSICGEN_MANIFEST": "1",
            "MUSICGEN_SLOTS": "3",
            "MUSICGEN_THREADS": "1",
            # The standard chain, with a session token, as an instance's role has one.
            "AWS_ACCESS_KEY_ID": OPERATOR[0],
            "AWS_SECRET_ACCESS_KEY": OPERATOR[1],
            "AWS_SESSION_TOKEN": OPERATOR[2],
            "HF_TOKEN": OPERATOR[3],
        }
        (tmp_path / "log").touch()
        made = Stage(servers, env, spool, tmp_path / "log")
        yield made
        if made.worker is not None:
            made.worker.kill()
            made.worker.wait()


def test_no_credential_reaches_another_party(stage: Stage) -> None:
    """Success, failure, kill -9 in the middle of an upload, and the operator's retry."""
    anna, berta, operator = (stage.servers[name] for name in ("anna", "berta", "operator"))
    worker = stage.start_worker()
    parties = ("anna", "berta", "operator")
    replies = stage.run(*(stage.job(name, 1) for name in parties))
    assert [reply["clips"][0]["url"].split("?")[0] for reply in replies] == [
        f"{anna.url}/bucket-of-anna/musicgen/anna-1/clip.wav",
        f"{berta.url}/bucket-of-berta/musicgen/berta-1/clip.wav",
        f"{operator.url}/operators-bucket/musicgen/operator-1/clip.wav",
    ]
    for server in stage.servers.values():
        server.mode = "deny"
    failed = stage.run(*(stage.job(name, 2) for name in parties))
    assert all(reply["error"].startswith("bucket_refused: ") for reply in failed)
    assert failed[0] == failed[1] != failed[2]
    anna.mode = berta.mode = "hang"
    stage.send(stage.job("anna", 3), stage.job("berta", 3))
    assert anna.hanging.wait(20) and berta.hanging.wait(20)
    worker.kill()
    worker.wait()
    waiting = {path.read_text() for path in stage.spool.glob("*.json")}
    assert len(waiting) == 2 and all("operators-bucket" in text for text in waiting)
    assert len(list(stage.spool.iterdir())) == 4
    stage.check_secrets(*replies, *failed)

    for server in stage.servers.values():
        server.mode = "ok"
    asked = [len(server.requests) for server in (anna, berta)]
    status, sent = stage.retry()
    assert (status, {each["bucket"] for each in sent}) == (0, {"operators-bucket"})
    assert [len(server.requests) for server in (anna, berta)] == asked
    assert not list(stage.spool.iterdir())
    assert "operators-session-token" in operator.transcript  # the record holds what is sent
    assert all(CALLERS[name][0] in stage.servers[name].transcript for name in CALLERS)
    stage.check_secrets()


def test_a_description_cannot_lead_the_operators_key_to_another_server(stage: Stage) -> None:
    """Clips of callers in the spool of an earlier version; and a description that was changed."""
    berta, operator = stage.servers["berta"], stage.servers["operator"]
    spool = Spool(stage.spool)
    ours = {"endpoint_url": operator.url, "bucket": "operators-bucket"}
    for place in (
        {"endpoint_url": berta.url, "bucket": "bucket-of-berta"},
        {"endpoint_url": berta.url, "bucket": "operators-bucket"},
        {"endpoint_url": operator.url, "bucket": "bucket-of-berta"},
        {"endpoint_url": None, "bucket": "operators-bucket"},
        ours,
    ):
        target = UploadTarget(
            key="musicgen/old/clip.wav", content_type="audio/wav", disposition="inline", **place
        )
        spool.release(spool.add(target, [b"sound"]))
    status, entries = stage.retry()
    assert status == 1
    refused = [entry for entry in entries if entry["error"]]
    assert len(refused) == 4 and all("not sent" in entry["error"] for entry in refused)
    assert berta.connected == 0
    assert operator.requests == ["PUT /operators-bucket/musicgen/old/clip.wav"]
    stage.check_secrets()

    for path in stage.spool.iterdir():
        os.utime(path, (0, 0))
    stage.start_worker()
    assert not list(stage.spool.iterdir())
