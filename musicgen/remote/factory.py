"""From `--target` to a deployment that can be asked."""

from __future__ import annotations

import threading

from musicgen.errors import InvalidRequest, RemoteError
from musicgen.remote import replicate, runpod_endpoint
from musicgen.remote.cog_server import CogServer
from musicgen.remote.errors import Refused
from musicgen.remote.http_api import Api, Remote
from musicgen.remote.huggingface_endpoint import HuggingFaceEndpoint
from musicgen.remote.replicate import ReplicateModel
from musicgen.remote.runpod_endpoint import RunPodEndpoint, RunPodLocalServer
from musicgen.remote.usage import Meter
from musicgen.settings import RemoteTokens
from musicgen.settings.remote import PLATFORMS, URLS

_NAMES = {
    "replicate": "--name OWNER/MODEL",
    "runpod": "--name ENDPOINT_ID",
    "hf": "--name https://....endpoints.huggingface.cloud",
}


def open_remote(
    target: str,
    name: str | None,
    tokens: RemoteTokens,
    timeout: float,
    cancelled: threading.Event | None = None,
    meter: Meter | None = None,
) -> Remote:
    """`target` is one of `PLATFORMS` with the deployment's `name`, or the URL of a server that runs
    one of the platforms' own containers. `timeout`: seconds for all of it. `cancelled`, once set,
    cancels what is asked for; `meter` counts what it uses.

    Raises: `InvalidRequest`, `RemoteError`, `GenerationCancelled`.
    """

    def api(address: str, token: str | None) -> Api:
        return Api(address, token, timeout, cancelled, meter)

    if target.startswith(URLS):
        return _of_server(api(target.rstrip("/"), None), target)
    if target not in PLATFORMS:
        raise InvalidRequest("target", target, f"one of {', '.join(PLATFORMS)}, or a URL")
    if not name:
        raise InvalidRequest("name", name, f"{target} needs {_NAMES[target]}")
    if target == "hf":
        if not name.startswith(URLS):
            raise InvalidRequest("name", name, "the URL of the endpoint")
        return HuggingFaceEndpoint(api(name.rstrip("/"), tokens.huggingface))
    if target == "replicate":
        token = _needed(tokens.replicate, "REPLICATE_API_TOKEN")
        return ReplicateModel(api(replicate.BASE_URL, token), name)
    token = _needed(tokens.runpod, "RUNPOD_API_KEY")
    return RunPodEndpoint(api(f"{runpod_endpoint.BASE_URL}/{name}", token))


def _of_server(api: Api, target: str) -> Remote:
    """Which platform's server it is, by the paths it says it has; Hugging Face's says none."""
    try:
        paths = api.get("/openapi.json")["paths"]
    except (Refused, KeyError, TypeError):
        return HuggingFaceEndpoint(api)
    if "/predictions" in paths:
        return CogServer(api)
    if "/runsync" in paths:
        return RunPodLocalServer(api)
    raise RemoteError(f"{target} is a server, but none of Cog, RunPod or Hugging Face")


def _needed(token: str | None, variable: str) -> str:
    if token is None:
        raise RemoteError(f"set {variable}: it is sent to the platform and shown nowhere")
    return token
