"""A serverless endpoint on RunPod: https://docs.runpod.io/serverless/endpoints/operations."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from musicgen.remote.clips import RemoteClip
from musicgen.remote.errors import Refused
from musicgen.remote.http_api import Api, Tell, clips_of_reply, compute_of_reply

BASE_URL = "https://api.runpod.ai/v2"
LIFETIME_MIN_SECONDS = 10
_ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})


class RunPodEndpoint:
    """`/run` and `/status`, because `/runsync` waits no longer than 90 seconds."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def generate(self, fields: Mapping[str, Any], tell: Tell) -> list[RemoteClip]:
        # RunPod's own deadlines, for when nobody is left here to cancel.
        milliseconds = 1000 * max(math.ceil(self._api.left), LIFETIME_MIN_SECONDS)
        policy = {"executionTimeout": milliseconds, "ttl": milliseconds}
        status = self._api.post("/run", {"input": dict(fields), "policy": policy})
        with self._api.job(f"/cancel/{status['id']}") as job:
            while status["status"] not in _ENDED:
                if status["status"] != "IN_QUEUE":
                    job.seen_running()
                tell(_progress(status))
                self._api.pause()
                status = self._api.get(f"/status/{status['id']}")
            if isinstance(status.get("executionTime"), (int, float)):
                job.told = status["executionTime"] / 1000
        return clips_of_job(self._api, status)


class RunPodLocalServer:
    """The SDK's own server for development, `python runpod_handler.py --rp_serve_api`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def generate(self, fields: Mapping[str, Any], tell: Tell) -> list[RemoteClip]:
        tell("waiting for the job")
        status = self._api.post_and_wait("/runsync", {"input": fields})
        self._api.meter.tell(compute_of_reply(status.get("output")))
        return clips_of_job(self._api, status)


def clips_of_job(api: Api, job: Mapping[str, Any]) -> list[RemoteClip]:
    """The clips of a job. Of one that was streamed the last piece is the result; if that says of a
    clip neither where it is nor what it is, its pieces are the clip.

    Raises: `RemoteError` for one that did not complete.
    """
    if job.get("status") != "COMPLETED":
        raise Refused("the job did not complete", str(job.get("error") or job.get("status")))
    output = job.get("output")
    if not isinstance(output, list):
        return clips_of_reply(api, output)
    *pieces, last = output
    reply = last.get("result", last)
    for index, clip in enumerate(reply.get("clips", [])):
        if "url" not in clip:
            mine = [base64.b64decode(p["audio"]) for p in pieces if p["index"] == index]
            clip["audio"] = base64.b64encode(b"".join(mine)).decode()
    return clips_of_reply(api, reply)


def _progress(job: Mapping[str, Any]) -> str:
    output = job.get("output")
    told = f" {output}" if isinstance(output, (str, int, float)) else ""
    return f"{job['status'].lower().replace('_', ' ')}{told}"
