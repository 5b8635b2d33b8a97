"""Targets of the load test: the job API, or a deployment on a platform."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from infra.loadtest.drive import Ask, JobReport
from musicgen.remote.factory import open_remote
from musicgen.settings import RemoteTokens
from musicgen_client import MusicGenClient


def ask_job_api(url: str, key: str | None, timeout: float) -> Ask:
    """Return a function to run one job by the job API, with a new connection for every job."""

    def ask(fields: dict[str, Any]) -> JobReport:
        with MusicGenClient(url, key, timeout) as client:
            job = client.wait(client.submit(**fields)).raw
        created, started, finished = (
            datetime.fromisoformat(job[name].replace("Z", "+00:00"))
            for name in ("created_at", "started_at", "finished_at")
        )
        result = job["result"]
        audio = float(result["seconds"] * len(result["clips"]))
        wait, span = (started - created).total_seconds(), (finished - created).total_seconds()
        return JobReport(audio, wait, span)

    return ask


def ask_platform(target: str, name: str | None, timeout: float) -> Ask:
    """Return a function to run one job on a platform; its times in the queue are unknown."""
    tokens = RemoteTokens.from_env()

    def ask(fields: dict[str, Any]) -> JobReport:
        clips = open_remote(target, name, tokens, timeout).generate(fields, lambda *_: None)
        return JobReport(sum(clip.seconds or fields["duration"] for clip in clips))

    return ask
