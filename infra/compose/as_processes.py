"""Run the compose file's services as plain processes on loopback.

    python -m infra.compose.as_processes            # until Ctrl-C
    python -m infra.compose.as_processes --check    # test the recovery; the last line is JSON

The check submits jobs, kills the worker and the database with SIGKILL during the jobs, and waits
for the end of all jobs. It fails for a lost job, or for a clip with another hash or size than in
its job. Clips come through the API, or with --redirect from their presigned URLs. No answer may
name the bucket as only the services know it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from infra.compose.stack import Stack

FINAL = ("completed", "failed", "cancelled")
JOB_SECONDS = 180.0
REDIRECT = {
    "MUSICGEN_BUCKET_DELIVERY": "redirect",
    "MUSICGEN_BUCKET_PUBLIC_ENDPOINT_URL": "http://localhost:8333",
}


def make_variables(*, redirects: bool = False) -> dict[str, str]:
    """Return the variables of .env: the demo model, and new secrets.

    `redirects`: callers fetch clips from the bucket.
    """
    images = ("API", "WORKER", "POSTGRES", "SEAWEEDFS", "PROMETHEUS")
    return {
        **{f"{name}_IMAGE": "none" for name in images},
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        "BUCKET_KEY_ID": secrets.token_hex(8),
        "BUCKET_SECRET": secrets.token_hex(16),
        "MUSICGEN_MODEL": "demo",
        "MUSICGEN_SLOTS": "2",
        "MUSICGEN_API_AUTH": "off",
        **(REDIRECT if redirects else {}),
    }


def check_recovery(stack: Stack, jobs: int) -> dict[str, Any]:
    """Run `jobs` jobs through a crash of the worker and the database, and return the figures.

    Raises: AssertionError for a lost job or a wrong clip.
    """
    with httpx.Client(base_url=stack.api, timeout=120) as http:
        first = _wait_for_end(http, _submit(http, 0, 1.0))
        origin = _check_clip(http, stack, first)
        ids = [_submit(http, number, 4.0) for number in range(1, jobs + 1)]
        _wait_for_running(http, ids)
        stack.services["worker"].kill()
        stack.services["database"].kill()
        stack.wait_until_healthy()
        ends = [_wait_for_end(http, job_id) for job_id in ids]
        for status in ends:
            _check_clip(http, stack, status)
        listed = http.get("/v1/jobs", params={"limit": 100}).json()["jobs"]
    states = Counter(status["status"] for status in ends)
    assert states == {"completed": jobs}, states
    assert Counter(job["job_id"] for job in listed) == Counter([first["job_id"], *ids])
    return {
        "jobs": jobs + 1,
        "clips_from": origin,
        "attempts": dict(Counter(status["attempt"] for status in ends)),
        "starts": {name: service.starts for name, service in stack.services.items()},
    }


def _submit(http: httpx.Client, seed: int, seconds: float) -> str:
    body = {"prompt": "fast high bells", "duration": seconds, "seed": seed}
    answer = http.post("/generate", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def _status(http: httpx.Client, job_id: str) -> dict[str, Any] | None:
    """Return a job's status, or None for status 503: the database is unavailable."""
    answer = http.get(f"/status/{job_id}")
    if answer.status_code == 503:
        return None
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _wait_for_end(http: httpx.Client, job_id: str) -> dict[str, Any]:
    end = time.monotonic() + JOB_SECONDS
    while (status := _status(http, job_id)) is None or status["status"] not in FINAL:
        assert time.monotonic() < end, status
        time.sleep(0.2)
    return status


def _wait_for_running(http: httpx.Client, ids: list[str]) -> None:
    end = time.monotonic() + JOB_SECONDS
    while not any((_status(http, job_id) or {}).get("status") == "running" for job_id in ids):
        assert time.monotonic() < end, "no job was started"
        time.sleep(0.05)


def _check_clip(http: httpx.Client, stack: Stack, status: dict[str, Any]) -> str:
    """Compare a job's clip with its hash and size, and return the origin that sent it."""
    assert status["status"] == "completed", status
    assert stack.inner_bucket not in json.dumps(status)
    sound, origin = http.get(status["audio_url"]), stack.api
    if sound.status_code == 307:
        address = str(sound.headers["location"])
        assert address.startswith(f"{stack.outer_bucket}/"), address
        assert "X-Amz-Signature" in address
        sound, origin = httpx.get(address, timeout=60), stack.outer_bucket
    assert sound.status_code == 200, sound.text
    clip = status["result"]["clips"][0]
    assert hashlib.sha256(sound.content).hexdigest() == clip["sha256"]
    assert len(sound.content) == clip["bytes"]
    return origin


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.compose.as_processes", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--check", action="store_true", help="test the recovery from crashes")
    parser.add_argument(
        "--jobs", type=int, default=12, help="jobs of the check (default: %(default)s)"
    )
    parser.add_argument(
        "--redirect", action="store_true", help="send callers to the bucket for clips"
    )
    options = parser.parse_args()
    with TemporaryDirectory(prefix="musicgen-compose-", ignore_cleanup_errors=True) as name:
        # The database runs as another user, and needs access.
        folder = Path(name)
        folder.chmod(0o755)
        with Stack(folder, make_variables(redirects=options.redirect)) as stack:
            sys.stdout.write(f"Page: {stack.api}, API reference: {stack.api}/docs\n")
            sys.stdout.flush()
            if options.check:
                sys.stdout.write(
                    json.dumps({"name": "compose", **check_recovery(stack, options.jobs)}) + "\n"
                )
                return
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                pass


if __name__ == "__main__":
    main()
