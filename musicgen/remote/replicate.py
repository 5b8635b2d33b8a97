"""A model on Replicate: https://replicate.com/docs/reference/http."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from musicgen.errors import RemoteError
from musicgen.remote.base import Api, RemoteClip, Tell
from musicgen.remote.cog_server import clip_of_prediction, one_by_one

BASE_URL = "https://api.replicate.com"
_ENDED = frozenset({"succeeded", "failed", "canceled", "aborted"})
_PERCENT = re.compile(r"^\s*(\d+)%\s*\|", re.MULTILINE)


class ReplicateModel:
    """`name` is OWNER/NAME, its latest version, or OWNER/NAME:VERSION."""

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self._name = name

    def generate(self, fields: Mapping[str, Any], tell: Tell) -> list[RemoteClip]:
        version = self._version()
        return [self._predict(version, one, tell) for one in one_by_one(fields)]

    def _predict(self, version: str, fields: Mapping[str, Any], tell: Tell) -> RemoteClip:
        body = {"version": version, "input": fields}
        prediction = self._api.post("/v1/predictions", body)
        path = f"/v1/predictions/{prediction['id']}"
        try:
            while prediction["status"] not in _ENDED:
                tell(_progress(prediction))
                self._api.pause()
                prediction = self._api.get(path)
        except BaseException:
            with suppress(RemoteError):
                self._api.post(f"{path}/cancel")
            raise
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
