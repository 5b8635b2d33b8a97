"""Container built by Cog, over the HTTP API of its server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen.remote.clips import RemoteClip
from musicgen.remote.cog_outputs import download_clip
from musicgen.remote.errors import RemoteRefusal
from musicgen.remote.http_api import HttpApi, OnProgress
from musicgen.request import seed_of_variation
from musicgen.request.sections import parse_prompts


class CogServer:
    """Deployment answering `POST /predictions` with the finished clip; hanging up cancels it."""

    def __init__(self, api: HttpApi) -> None:
        self._api = api

    def generate(self, fields: Mapping[str, Any], on_progress: OnProgress) -> list[RemoteClip]:
        """Make one prediction after the other. Raises: `RemoteError`, `GenerationCancelled`."""
        clips = []
        for label, clip_fields in split_clips(fields):
            on_progress(f"{label}waiting for the prediction")
            answer = self._api.post_and_wait("/predictions", {"input": clip_fields})
            self._api.meter.correct(_read_metrics(answer).get("predict_time"))
            clips.append(read_prediction(self._api, answer))
        return clips


def split_clips(fields: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the label of each clip, for progress lines, and the fields of its own request.

    A prediction of Cog makes one clip: clip i has `seed + i`.
    """
    shared = dict(fields)
    variations = shared.pop("variations", 1)
    several = shared.pop("prompts", None)
    texts = parse_prompts(several) if several else (shared.get("prompt", ""),)
    prompts = [text for text in texts for _ in range(variations)]
    seed = shared.get("seed")
    requests = []
    for index, prompt in enumerate(prompts):
        label = f"clip {index + 1} of {len(prompts)}: " if len(prompts) > 1 else ""
        clip_fields = shared | {"prompt": prompt}
        if seed is not None:
            clip_fields["seed"] = seed_of_variation(seed, index)
        requests.append((label, clip_fields))
    return requests


def read_prediction(api: HttpApi, prediction: Mapping[str, Any]) -> RemoteClip:
    """Return the clip of a prediction, the whole one of a streaming runner.

    Raises: `RemoteError` for an unsuccessful prediction.
    """
    if prediction.get("status") != "succeeded":
        reason = prediction.get("error") or prediction.get("status")
        raise RemoteRefusal("the prediction did not succeed", str(reason))
    metrics = _read_metrics(prediction)
    data, kind = download_clip(api, prediction.get("output"), metrics)
    return RemoteClip(
        data,
        kind,
        metrics.get("seed"),
        metrics.get("audio_seconds"),
        model=metrics.get("model"),
        licence=metrics.get("licence"),
    )


def _read_metrics(prediction: Mapping[str, Any]) -> Mapping[str, Any]:
    return prediction.get("metrics") or {}
