"""Serverless endpoint on RunPod: https://docs.runpod.io/serverless/endpoints/operations."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from musicgen.remote.clips import RemoteClip
from musicgen.remote.errors import RemoteRefusal
from musicgen.remote.http_api import HttpApi, OnProgress, read_clips, read_compute_seconds

BASE_URL = "https://api.runpod.ai/v2"
LIFETIME_MIN_SECONDS = 10
_ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})


class RunPodEndpoint:
    """Endpoint used by `/run` and `/status`, because `/runsync` waits at most 90 seconds."""

    def __init__(self, api: HttpApi) -> None:
        self._api = api

    def generate(self, fields: Mapping[str, Any], on_progress: OnProgress) -> list[RemoteClip]:
        """Run one job for all clips. Raises: `RemoteError`, `GenerationCancelled`."""
        # RunPod's own deadlines, in case this process dies and cannot cancel.
        milliseconds = 1000 * max(math.ceil(self._api.seconds_left), LIFETIME_MIN_SECONDS)
        policy = {"executionTimeout": milliseconds, "ttl": milliseconds}
        status = self._api.post("/run", {"input": dict(fields), "policy": policy})
        with self._api.track_job(f"/cancel/{status['id']}") as job:
            while status["status"] not in _ENDED:
                if status["status"] != "IN_QUEUE":
                    job.mark_running()
                on_progress(_describe_progress(status))
                self._api.pause()
                status = self._api.get(f"/status/{status['id']}")
            if isinstance(status.get("executionTime"), (int, float)):
                job.reported_seconds = status["executionTime"] / 1000
        return read_job_clips(self._api, status)


class RunPodLocalServer:
    """Development server of RunPod's SDK: `python runpod_handler.py --rp_serve_api`."""

    def __init__(self, api: HttpApi) -> None:
        self._api = api

    def generate(self, fields: Mapping[str, Any], on_progress: OnProgress) -> list[RemoteClip]:
        """Run one job for all clips. Raises: `RemoteError`, `GenerationCancelled`."""
        on_progress("waiting for the job")
        status = self._api.post_and_wait("/runsync", {"input": fields})
        self._api.meter.correct(read_compute_seconds(status.get("output")))
        return read_job_clips(self._api, status)


def read_job_clips(api: HttpApi, job: Mapping[str, Any]) -> list[RemoteClip]:
    """Return the clips of a job.

    The last piece of a streamed job is the result. A clip without a URL there consists of its
    pieces. Raises: `RemoteError` for an incomplete job.
    """
    if job.get("status") != "COMPLETED":
        raise RemoteRefusal("the job did not complete", str(job.get("error") or job.get("status")))
    output = job.get("output")
    if not isinstance(output, list):
        return read_clips(api, output)
    *pieces, last = output
    reply = last.get("result", last)
    for index, clip in enumerate(reply.get("clips", [])):
        if "url" not in clip:
            parts = [base64.b64decode(p["audio"]) for p in pieces if p["index"] == index]
            clip["audio"] = base64.b64encode(b"".join(parts)).decode()
    return read_clips(api, reply)


def _describe_progress(job: Mapping[str, Any]) -> str:
    output = job.get("output")
    suffix = f" {output}" if isinstance(output, (str, int, float)) else ""
    return f"{job['status'].lower().replace('_', ' ')}{suffix}"
