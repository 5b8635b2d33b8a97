"""Deployment to a serverless endpoint of RunPod, with its REST API v2.

Source: https://docs.runpod.io/api-reference-v2
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.deploy import checks
from infra.deploy.rest import Rest
from infra.deploy.target import Check, DeployError, Step

BASE_URL = "https://api.runpod.io"
DISK_GB = 40
CUDA = "13.0"
"""Lowest CUDA version of the image's torch."""
LONGEST_JOB_MS = 1_200_000
QUEUE_DELAY_SECONDS = 4
POOLS = ("ADA_24", "AMPERE_24")
WORKERS = {"min": 0, "max": 3, "idleTimeout": 60}
"""Defaults of a new endpoint."""
SECRET = "{{ RUNPOD_SECRET_"
"""Prefix of a reference to a secret of RunPod: https://docs.runpod.io/pods/templates/secrets"""


@dataclass(frozen=True)
class RunPodOptions:
    """Options of an endpoint.

    None keeps the value of an existing endpoint, and means the default for a new one. `env`:
    variables to add or change; the others stay.
    """

    name: str
    image: str | None = None
    pools: tuple[str, ...] | None = None
    workers_min: int | None = None
    workers_max: int | None = None
    idle_seconds: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    registry: str | None = None


class RunPod:
    """Serverless endpoint. A release is an image reference."""

    def __init__(self, options: RunPodOptions, token: str | None) -> None:
        self._options = options
        self._api = Rest(BASE_URL, token, "RUNPOD_API_KEY")
        self.name = f"runpod/{options.name}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        """Check the key, the image's digest and the bucket, and show the licence."""
        yield Check("RUNPOD_API_KEY", True, f"endpoints: {len(self._list_endpoints())}")
        if builds and self._options.image is not None:
            is_pinned = "@sha256:" in self._options.image
            hint = "" if is_pinned else ": name it by its digest"
            yield Check("image", is_pinned, f"{self._options.image}{hint}")
        env = self._merge_env()
        yield checks.show_licence(env.get("MUSICGEN_MODEL", "demo"))
        if SECRET not in "".join(env.values()):
            yield from checks.check_bucket(env)

    def find_current_release(self) -> str | None:
        """Return the endpoint's image, or None."""
        endpoint = self._find_endpoint()
        return None if endpoint is None else str(endpoint.get("image"))

    def predict_release(self) -> str | None:
        """Return the image of an endpoint without changes, or None."""
        endpoint = self._find_endpoint()
        has_changes = endpoint is None or bool(self._compare(endpoint))
        return None if has_changes else self._options.image

    def preview(self) -> str:
        """Return "": RunPod shows no differences."""
        return ""

    def plan_steps(self, release: str | None) -> list[Step]:
        """Return one call: POST for a new endpoint, PATCH with the differences for an existing."""
        endpoint = self._find_endpoint()
        if release is not None:
            return [self._update(endpoint, {"image": release})]
        if endpoint is None:
            body = self._new()
            shown = body | {"env": _hide(body["env"])}
            return [
                Step(
                    f"POST {BASE_URL}/v2/serverless {shown}",
                    lambda: self._api.post("/v2/serverless", body),
                )
            ]
        changes = self._compare(endpoint)
        return [self._update(endpoint, changes)] if changes else []

    def _update(self, endpoint: Mapping[str, Any] | None, body: dict[str, Any]) -> Step:
        if endpoint is None:
            raise DeployError(f"The endpoint {self._options.name} does not exist yet.")
        path = f"/v2/serverless/{endpoint['id']}"
        shown = body | ({"env": _hide(body["env"])} if "env" in body else {})
        return Step(f"PATCH {BASE_URL}{path} {shown}", lambda: self._api.patch(path, body))

    def _new(self) -> dict[str, Any]:
        options = self._options
        if options.image is None:
            raise DeployError(f"The endpoint {options.name} does not exist yet. It needs --image.")
        body = {
            "name": options.name,
            "type": "QUEUE",
            "image": options.image,
            "disk": DISK_GB,
            "env": dict(options.env),
            "gpu": {"pools": list(options.pools or POOLS), "count": 1, "minCudaVersion": CUDA},
            "workers": WORKERS | self._workers(),
            "scaling": {"type": "QUEUE_DELAY", "queueDelay": QUEUE_DELAY_SECONDS},
            "timeout": LONGEST_JOB_MS,
            "flashboot": "FLASHBOOT",
        }
        return body | ({"registry": options.registry} if options.registry else {})

    def _workers(self) -> dict[str, int]:
        """Return the given limits of workers, without the others."""
        options = self._options
        limits = zip(
            WORKERS, (options.workers_min, options.workers_max, options.idle_seconds), strict=True
        )
        return {name: value for name, value in limits if value is not None}

    def _compare(self, endpoint: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of a PATCH with the differences alone.

        RunPod replaces `gpu` and `env` as a whole, so excluded GPU types and other variables are
        sent again.
        """
        options, changes = self._options, dict[str, Any]()
        if options.image not in (None, endpoint.get("image")):
            changes["image"] = options.image
        if endpoint["workers"] | self._workers() != endpoint["workers"]:
            changes["workers"] = self._workers()
        gpu = endpoint.get("gpu") or {}
        if options.pools is not None and tuple(gpu.get("pools", ())) != options.pools:
            excluded = {"excludedTypes": gpu["excludedTypes"]} if gpu.get("excludedTypes") else {}
            changes["gpu"] = {"pools": list(options.pools)} | excluded
        env = self._merge_env(endpoint)
        if env != endpoint.get("env", {}):
            changes["env"] = env
        return changes

    def _merge_env(self, endpoint: Mapping[str, Any] | None = None) -> dict[str, str]:
        endpoint = self._find_endpoint() if endpoint is None else endpoint
        return {**(endpoint.get("env") or {} if endpoint else {}), **self._options.env}

    def _find_endpoint(self) -> Mapping[str, Any] | None:
        same = [entry for entry in self._list_endpoints() if entry["name"] == self._options.name]
        if len(same) > 1:
            raise DeployError(
                f"{len(same)} endpoints have the name {self._options.name}: rename one of them"
            )
        return same[0] if same else None

    def _list_endpoints(self) -> list[dict[str, Any]]:
        endpoints: list[dict[str, Any]] = self._api.get("/v2/serverless")["endpoints"]
        return endpoints


def _hide(env: Mapping[str, str]) -> dict[str, str]:
    """Replace the values of variables, because they may be secrets."""
    return dict.fromkeys(env, "...")
