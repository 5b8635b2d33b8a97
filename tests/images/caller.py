"""A caller of the API in a container, with patience for its restarts."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Collection
from typing import Any

import httpx

FINAL = ("completed", "failed", "cancelled")
JOB_SECONDS = 240.0
POLL_SECONDS = 0.4
"""Below the API's limit of calls."""


def find_native_step(log: str) -> str | None:
    """Return the instructions of the native step that the log of a start names."""
    found = re.search(r"native step: ([\w -]+)", log)
    return found and found[1].strip()


def say(line: str) -> None:
    """Write a figure, also where pytest catches output."""
    sys.__stderr__.write(f"\n{line}\n")  # type: ignore[union-attr]


class Caller:
    """Submits jobs, waits for them, and compares their clips."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def submit(self, **fields: object) -> str:
        body = {"prompt": "fast high bells", "duration": 1.0, "seed": 7, **fields}
        answer = self.http.post("/generate", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def status(self, job_id: str) -> dict[str, Any]:
        """Return a job's status, or an empty one while the API or its database is restarted."""
        try:
            answer = self.http.get(f"/status/{job_id}")
        except httpx.TransportError:
            return {}
        if answer.status_code in (429, 503):
            return {}
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def wait_for(self, job_id: str, *states: str, seconds: float = JOB_SECONDS) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while (status := self.status(job_id)).get("status") not in states:
            assert status.get("status") not in FINAL, status
            assert time.monotonic() < end, status
            time.sleep(POLL_SECONDS)
        return status

    def wait_until_completed(self, job_ids: Collection[str]) -> list[dict[str, Any]]:
        return [self.wait_for(job_id, "completed") for job_id in job_ids]

    def fetch(self, address: str, **headers: str) -> httpx.Response:
        """Fetch a clip of the API itself: a redirect leads nowhere outside its network."""
        answer = self.http.get(address, headers=headers)
        assert answer.status_code in (200, 206), f"{answer.status_code} {answer.headers}"
        return answer

    def check_clip(self, status: dict[str, Any]) -> bytes:
        """Fetch a job's clip, compare its hash and size, and return it."""
        [clip] = status["result"]["clips"]
        sound = self.fetch(status["audio_url"]).content
        assert len(sound) == clip["bytes"]
        assert hashlib.sha256(sound).hexdigest() == clip["sha256"]
        return sound

    def list_jobs(self) -> list[str]:
        return [str(job["job_id"]) for job in self.http.get("/v1/jobs?limit=100").json()["jobs"]]
