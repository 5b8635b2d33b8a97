"""Model on Replicate: https://replicate.com/docs/reference/http."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from musicgen.errors import RemoteError
from musicgen.remote.clips import RemoteClip
from musicgen.remote.cog_server import read_prediction, split_clips
from musicgen.remote.http_api import HttpApi, OnProgress

BASE_URL = "https://api.replicate.com"
LIFETIME_MIN_SECONDS = 5
_ENDED = frozenset({"succeeded", "failed", "canceled", "aborted"})
_PERCENT = re.compile(r"^\s*(\d+)%\s*\|", re.MULTILINE)


class ReplicateModel:
    """Model by `name`: OWNER/NAME for its latest version, or OWNER/NAME:VERSION."""

    def __init__(self, api: HttpApi, name: str) -> None:
        self._api = api
        self._name = name

    def generate(self, fields: Mapping[str, Any], on_progress: OnProgress) -> list[RemoteClip]:
        """Make one prediction after the other. Raises: `RemoteError`, `GenerationCancelled`."""
        version = self._find_version()
        return [
            self._predict(version, clip_fields, label, on_progress)
            for label, clip_fields in split_clips(fields)
        ]

    def _predict(
        self, version: str, fields: Mapping[str, Any], label: str, on_progress: OnProgress
    ) -> RemoteClip:
        body = {"version": version, "input": fields}
        # Replicate's own deadline, in case this process dies and cannot cancel.
        lifetime = max(math.ceil(self._api.seconds_left), LIFETIME_MIN_SECONDS)
        prediction = self._api.post("/v1/predictions", body, {"Cancel-After": f"{lifetime}s"})
        path = f"/v1/predictions/{prediction['id']}"
        with self._api.track_job(f"{path}/cancel") as job:
            while prediction["status"] not in _ENDED:
                if prediction["status"] != "starting":
                    job.mark_running()
                on_progress(label + _describe_progress(prediction))
                self._api.pause()
                prediction = self._api.get(path)
            job.reported_seconds = (prediction.get("metrics") or {}).get("predict_time")
        return read_prediction(self._api, prediction)

    def _find_version(self) -> str:
        model, _, version = self._name.partition(":")
        if version:
            return version
        latest = self._api.get(f"/v1/models/{model}").get("latest_version")
        if not latest:
            raise RemoteError(f"{model} has no version yet. Push one first.")
        return str(latest["id"])


def _describe_progress(prediction: Mapping[str, Any]) -> str:
    percents = _PERCENT.findall(prediction.get("logs") or "")
    return f"{prediction['status']} {percents[-1]}%" if percents else str(prediction["status"])
