"""From `--target` to a deployment that can be asked."""

from __future__ import annotations

from musicgen.errors import InvalidRequest, RemoteError
from musicgen.remote import replicate, runpod_endpoint
from musicgen.remote.base import Api, Remote
from musicgen.remote.cog_server import CogServer
from musicgen.remote.huggingface_endpoint import HuggingFaceEndpoint
from musicgen.remote.replicate import ReplicateModel
from musicgen.remote.runpod_endpoint import RunPodEndpoint, RunPodLocalServer
from musicgen.settings import RemoteTokens

TARGETS = ("replicate", "runpod", "hf")
_NAMES = {
    "replicate": "--name OWNER/MODEL",
    "runpod": "--name ENDPOINT_ID",
    "hf": "--name https://....endpoints.huggingface.cloud",
}


def open_remote(target: str, name: str | None, tokens: RemoteTokens, timeout: float) -> Remote:
    """`target` is one of `TARGETS` with the deployment's `name`, or the URL of a server that runs
    one of the platforms' own containers. `timeout`: seconds for all of it.

    Raises: `InvalidRequest`, `RemoteError`.
    """
    if target.startswith(("http://", "https://")):
        return _of_server(Api(target.rstrip("/"), None, timeout), target)
    if target not in TARGETS:
        raise InvalidRequest("target", target, f"one of {', '.join(TARGETS)}, or a URL")
    if not name:
        raise InvalidRequest("name", name, f"{target} needs {_NAMES[target]}")
    if target == "hf":
        if not name.startswith(("http://", "https://")):
            raise InvalidRequest("name", name, "the URL of the endpoint")
        return HuggingFaceEndpoint(Api(name.rstrip("/"), tokens.huggingface, timeout))
    if target == "replicate":
        token = _needed(tokens.replicate, "REPLICATE_API_TOKEN")
        return ReplicateModel(Api(replicate.BASE_URL, token, timeout), name)
    token = _needed(tokens.runpod, "RUNPOD_API_KEY")
    return RunPodEndpoint(Api(f"{runpod_endpoint.BASE_URL}/{name}", token, timeout))


def _of_server(api: Api, target: str) -> Remote:
    """Which platform's server it is, by the paths it says it has; Hugging Face's says none."""
    try:
        paths = api.get("/openapi.json")["paths"]
    except (RemoteError, KeyError, TypeError):
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
