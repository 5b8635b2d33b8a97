"""Calls of a job API, wherever it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

FINAL = ("completed", "failed", "cancelled")
JOB_SECONDS = 90.0


class ApiCaller:
    """Caller of one API. `http` has its address, and a key if it wants one."""

    http: httpx.Client
    poll_seconds: float = 0.05

    def __init__(self, http: httpx.Client, poll_seconds: float = poll_seconds) -> None:
        self.http = http
        self.poll_seconds = poll_seconds

    def submit(self, **fields: Any) -> str:
        answer = self.http.post("/generate", json={"prompt": "piano", "duration": 0.5} | fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def status(self, job_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/status/{job_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ended(self, job_id: str, seconds: float = JOB_SECONDS) -> dict[str, Any]:
        """The status of a job when it has ended."""
        return self.until(job_id, lambda now: now["status"] in FINAL, seconds)

    def until(
        self, job_id: str, condition: Callable[[dict[str, Any]], Any], seconds: float = JOB_SECONDS
    ) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while not condition(now := self.status(job_id)):
            assert time.monotonic() < end, now
            time.sleep(self.poll_seconds)
        return now
