"""A model on Replicate: https://replicate.com/docs/reference/http."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from musicgen.errors import RemoteError
from musicgen.remote.clips import RemoteClip
from musicgen.remote.cog_server import clip_of_prediction, one_by_one
from musicgen.remote.http_api import Api, Tell

BASE_URL = "https://api.replicate.com"
LIFETIME_MIN_SECONDS = 5
_ENDED = frozenset({"succeeded", "failed", "canceled", "aborted"})
_PERCENT = re.compile(r"^\s*(\d+)%\s*\|", re.MULTILINE)


class ReplicateModel:
    """`name` is OWNER/NAME, its latest version, or OWNER/NAME:VERSION."""

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self._name = name

    def generate(self, fields: Mapping[str, Any], tell: Tell) -> list[RemoteClip]:
        version = self._version()
        return [self._predict(version, one, which, tell) for which, one in one_by_one(fields)]

    def _predict(
        self, version: str, fields: Mapping[str, Any], which: str, tell: Tell
    ) -> RemoteClip:
        body = {"version": version, "input": fields}
        # Replicate's own deadline, for when nobody is left here to cancel.
        lifetime = max(math.ceil(self._api.left), LIFETIME_MIN_SECONDS)
        prediction = self._api.post("/v1/predictions", body, {"Cancel-After": f"{lifetime}s"})
        path = f"/v1/predictions/{prediction['id']}"
        with self._api.job(f"{path}/cancel") as job:
            while prediction["status"] not in _ENDED:
                if prediction["status"] != "starting":
                    job.seen_running()
                tell(which + _progress(prediction))
                self._api.pause()
                prediction = self._api.get(path)
            job.told = (prediction.get("metrics") or {}).get("predict_time")
        return clip_of_prediction(self._api, prediction)

    def _version(self) -> str:
        model, _, version = self._name.partition(":")
        if version:
            return version
        latest = self._api.get(f"/v1/models/{model}").get("latest_version")
        if not latest:
            raise RemoteError(f"{model} has no version yet: push one first")
        return str(latest["id"])


def _progress(prediction: Mapping[str, Any]) -> str:
    percents = _PERCENT.findall(prediction.get("logs") or "")
    return f"{prediction['status']} {percents[-1]}%" if percents else str(prediction["status"])
