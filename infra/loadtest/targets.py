"""Who is asked: the job API, or a deployment on a platform."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from infra.loadtest.drive import Ask, Made
from musicgen.client import MusicGenClient
from musicgen.remote.factory import open_remote
from musicgen.settings import RemoteTokens


def job_api(url: str, key: str | None, timeout: float) -> Ask:
    """A connection of its own for each job, as callers have."""

    def ask(fields: dict[str, Any]) -> Made:
        with MusicGenClient(url, key, timeout) as client:
            told = client.wait(client.submit(**fields)).raw
        made, began, ended = (
            datetime.fromisoformat(told[name].replace("Z", "+00:00"))
            for name in ("created_at", "started_at", "finished_at")
        )
        result = told["result"]
        audio = float(result["seconds"] * len(result["clips"]))
        return Made(audio, (began - made).total_seconds(), (ended - made).total_seconds())

    return ask


def deployment(target: str, name: str | None, timeout: float) -> Ask:
    tokens = RemoteTokens.from_env()

    def ask(fields: dict[str, Any]) -> Made:
        clips = open_remote(target, name, tokens, timeout).generate(fields, lambda *_: None)
        return Made(sum(clip.seconds or fields["duration"] for clip in clips))

    return ask
