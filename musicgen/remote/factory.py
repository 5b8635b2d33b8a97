"""Remote deployment for a target and a name."""

from __future__ import annotations

import threading

from musicgen.errors import InvalidRequest, RemoteError, SettingsError
from musicgen.remote import replicate, runpod_endpoint
from musicgen.remote.cog_server import CogServer
from musicgen.remote.errors import RemoteRefusal
from musicgen.remote.http_api import HttpApi, RemoteDeployment
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
) -> RemoteDeployment:
    """Open a deployment of a platform by `name`, or of a platform's own container by URL.

    `target`: one of `PLATFORMS`, or a URL. `timeout`: seconds for the whole request. Setting
    `cancelled` cancels the request. `meter`: counts its compute. Raises: `InvalidRequest`,
    `SettingsError` without a token, `RemoteError`, `GenerationCancelled`.
    """

    def api(address: str, token: str | None) -> HttpApi:
        return HttpApi(address, token, timeout, cancelled, meter)

    if target.startswith(URLS):
        return _open_server(api(target.rstrip("/"), None), target)
    if target not in PLATFORMS:
        raise InvalidRequest(
            "target", f"must be one of {', '.join(PLATFORMS)}, or a URL", value=target
        )
    if not name:
        raise InvalidRequest("name", f"must be given for {target}: {_NAMES[target]}")
    if target == "hf":
        if not name.startswith(URLS):
            raise InvalidRequest("name", "must be the URL of the endpoint", value=name)
        return HuggingFaceEndpoint(api(name.rstrip("/"), tokens.huggingface))
    if target == "replicate":
        token = _require_token(tokens.replicate, "REPLICATE_API_TOKEN")
        return ReplicateModel(api(replicate.BASE_URL, token), name)
    token = _require_token(tokens.runpod, "RUNPOD_API_KEY")
    return RunPodEndpoint(api(f"{runpod_endpoint.BASE_URL}/{name}", token))


def _open_server(api: HttpApi, target: str) -> RemoteDeployment:
    """Open a server by its paths in /openapi.json; Hugging Face's server has no such file."""
    try:
        paths = api.get("/openapi.json")["paths"]
    except (RemoteRefusal, KeyError, TypeError):
        return HuggingFaceEndpoint(api)
    if "/predictions" in paths:
        return CogServer(api)
    if "/runsync" in paths:
        return RunPodLocalServer(api)
    raise RemoteError(f"{target} is not a server of Cog, RunPod or Hugging Face.")


def _require_token(token: str | None, variable: str) -> str:
    if token is None:
        advice = "It is sent to the platform and never shown."
        raise SettingsError(variable, "must be set", advice=advice)
    return token
