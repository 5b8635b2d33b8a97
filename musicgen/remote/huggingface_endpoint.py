"""Hugging Face Inference Endpoint with this project's handler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen.remote.clips import RemoteClip
from musicgen.remote.http_api import HttpApi, OnProgress, read_clips, read_compute_seconds


class HuggingFaceEndpoint:
    """Endpoint answering a POST with the finished clip; scaled to zero, it answers 503 at first."""

    def __init__(self, api: HttpApi) -> None:
        self._api = api

    def generate(self, fields: Mapping[str, Any], on_progress: OnProgress) -> list[RemoteClip]:
        """Generate all clips in one call. Raises: `RemoteError`, `GenerationCancelled`."""
        on_progress("waiting for the endpoint")
        parameters = dict(fields)
        body = {"inputs": parameters.pop("prompt"), "parameters": parameters}
        reply = self._api.post_and_wait("/", body)
        self._api.meter.correct(read_compute_seconds(reply))
        return read_clips(self._api, reply)
