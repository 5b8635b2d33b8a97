"""A Hugging Face Inference Endpoint with this project's handler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen.remote.clips import RemoteClip
from musicgen.remote.http_api import Api, Tell, clips_of_reply, compute_of_reply


class HuggingFaceEndpoint:
    """One POST, answered when the clip is there; one that scaled to zero answers 503 meanwhile."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def generate(self, fields: Mapping[str, Any], tell: Tell) -> list[RemoteClip]:
        tell("waiting for the endpoint")
        parameters = dict(fields)
        body = {"inputs": parameters.pop("prompt"), "parameters": parameters}
        reply = self._api.post_and_wait("/", body)
        self._api.meter.tell(compute_of_reply(reply))
        return clips_of_reply(self._api, reply)
