"""A container that Cog has built, by the HTTP API of its own server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from musicgen.errors import RemoteError
from musicgen.remote.base import Api, RemoteClip, Tell
from musicgen.request import seed_of_variation


class CogServer:
    """`POST /predictions`, answered when the clip is there; hanging up cancels it."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def generate(self, fields: Mapping[str, Any], tell: Tell) -> list[RemoteClip]:
        clips = []
        for one in one_by_one(fields):
            tell("waiting for the prediction")
            answer = self._api.post("/predictions", {"input": one}, wait=True)
            clips.append(clip_of_prediction(self._api, answer))
        return clips


def one_by_one(fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Cog makes one clip of a prediction: variation i is a request of its own with `seed + i`."""
    rest = dict(fields)
    count = rest.pop("variations", 1)
    for index in range(count):
        seed = rest.get("seed")
        yield rest if seed is None else rest | {"seed": seed_of_variation(seed, index)}


def clip_of_prediction(api: Api, prediction: Mapping[str, Any]) -> RemoteClip:
    """The output of a prediction; of a streaming runner's the last file, which is the whole clip.

    Raises: `RemoteError` for one that did not succeed.
    """
    if prediction.get("status") != "succeeded":
        reason = prediction.get("error") or prediction.get("status")
        raise RemoteError(f"the prediction did not succeed: {reason}")
    output = prediction["output"]
    data, kind = api.download(output[-1] if isinstance(output, list) else output)
    seed = (prediction.get("metrics") or {}).get("seed")
    return RemoteClip(data, kind, seed)
