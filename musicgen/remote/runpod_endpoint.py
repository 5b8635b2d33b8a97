"""A serverless endpoint on RunPod: https://docs.runpod.io/serverless/endpoints/operations."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from musicgen.errors import RemoteError
from musicgen.remote.base import Api, RemoteClip, Tell, clips_of_reply

BASE_URL = "https://api.runpod.ai/v2"
_ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})


class RunPodEndpoint:
    """`/run` and `/status`, because `/runsync` waits no longer than 90 seconds."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def generate(self, fields: Mapping[str, Any], tell: Tell) -> list[RemoteClip]:
        job = self._api.post("/run", {"input": dict(fields)})
        try:
            while job["status"] not in _ENDED:
                tell(_progress(job))
                self._api.pause()
                job = self._api.get(f"/status/{job['id']}")
        except BaseException:
            with suppress(RemoteError):
                self._api.post(f"/cancel/{job['id']}")
            raise
        return clips_of_job(self._api, job)


class RunPodLocalServer:
    """The SDK's own server for development, `python runpod_handler.py --rp_serve_api`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def generate(self, fields: Mapping[str, Any], tell: Tell) -> list[RemoteClip]:
        tell("waiting for the job")
        return clips_of_job(self._api, self._api.post("/runsync", {"input": fields}, wait=True))


def clips_of_job(api: Api, job: Mapping[str, Any]) -> list[RemoteClip]:
    """The clips of a job. Of one that was streamed the last piece is the result; if that says of a
    clip neither where it is nor what it is, its pieces are the clip.

    Raises: `RemoteError` for one that did not complete.
    """
    if job.get("status") != "COMPLETED":
        raise RemoteError(f"the job did not complete: {job.get('error') or job.get('status')}")
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
