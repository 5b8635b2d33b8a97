"""A container that Cog has built, by the HTTP API of its own server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen.remote.clips import RemoteClip
from musicgen.remote.errors import Refused
from musicgen.remote.http_api import Api, Tell
from musicgen.request import seed_of_variation
from musicgen.request.sections import parse_prompts


class CogServer:
    """`POST /predictions`, answered when the clip is there; hanging up cancels it."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def generate(self, fields: Mapping[str, Any], tell: Tell) -> list[RemoteClip]:
        clips = []
        for which, one in one_by_one(fields):
            tell(f"{which}waiting for the prediction")
            answer = self._api.post_and_wait("/predictions", {"input": one})
            self._api.meter.tell(_metrics(answer).get("predict_time"))
            clips.append(clip_of_prediction(self._api, answer))
        return clips


def one_by_one(fields: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Cog makes one clip of a prediction: clip i is a request of its own with `seed + i`.

    Returns: the fields of each, and what a line about it begins with.
    """
    rest = dict(fields)
    variations = rest.pop("variations", 1)
    texts = parse_prompts(rest.pop("prompts")) if rest.get("prompts") else (rest.get("prompt", ""),)
    each = [text for text in texts for _ in range(variations)]
    requests = []
    for index, text in enumerate(each):
        seed = rest.get("seed")
        which = f"clip {index + 1} of {len(each)}: " if len(each) > 1 else ""
        one = rest | {"prompt": text}
        requests.append(
            (which, one if seed is None else one | {"seed": seed_of_variation(seed, index)})
        )
    return requests


def clip_of_prediction(api: Api, prediction: Mapping[str, Any]) -> RemoteClip:
    """The output of a prediction; of a streaming runner's the last file, which is the whole clip.

    Raises: `RemoteError` for one that did not succeed.
    """
    if prediction.get("status") != "succeeded":
        reason = prediction.get("error") or prediction.get("status")
        raise Refused("the prediction did not succeed", str(reason))
    output = prediction["output"]
    data, kind = api.download(output[-1] if isinstance(output, list) else output)
    told = _metrics(prediction)
    return RemoteClip(
        data,
        kind,
        told.get("seed"),
        told.get("audio_seconds"),
        model=told.get("model"),
        licence=told.get("licence"),
    )


def _metrics(prediction: Mapping[str, Any]) -> Mapping[str, Any]:
    return prediction.get("metrics") or {}
