"""Deployment to a serverless endpoint of RunPod, with its REST API v2.

Source: https://docs.runpod.io/api-reference-v2
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.deploy import checks
from infra.deploy.call_limits import CallLimit, check_call_limits
from infra.deploy.costs import Fleet, show_costs
from infra.deploy.option_types import CALL_SECONDS
from infra.deploy.rest import Rest
from infra.deploy.speed import Load
from infra.deploy.target import Check, DeployError, Step
from musicgen.errors.counts import format_count

BASE_URL = "https://api.runpod.io"
DISK_GB = 40
CUDA = "13.0"
"""Lowest CUDA version of the image's torch."""
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
    volumes: tuple[str, ...] | None = None
    data_centres: tuple[str, ...] | None = None
    call_seconds: int | None = None


class RunPod:
    """Serverless endpoint. A release is an image reference."""

    def __init__(self, options: RunPodOptions, token: str | None) -> None:
        self._options = options
        self._api = Rest(BASE_URL, token, "RUNPOD_API_KEY")
        self.name = f"runpod/{options.name}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        """Check the key, the image's digest and the bucket, and show the licence."""
        endpoint, token = None, self._api.token_check
        if token.is_met:
            try:
                endpoint = self._find_endpoint()
                token = Check(token.name, True, f"endpoints: {len(self._list_endpoints())}")
            except DeployError as error:
                token = Check(token.name, False, str(error))
        yield token
        if builds and (self._options.image is not None or endpoint is None):
            yield checks.check_image(self._options.image)
        if builds:
            yield self._check_limits(endpoint or {})
        yield from self._check_volumes(token.is_met)
        env = self._merge_env(endpoint or {})
        yield checks.show_licence(env.get("MUSICGEN_MODEL"), asks_hub=token.is_met)
        if builds:
            limit, load = self._find_limit(endpoint), self._find_load(endpoint, env)
            yield from check_call_limits(limit, env, load)
            workers = self._find_workers(endpoint or {})
            yield show_costs(Fleet("runpod", load.gpus, workers["min"], workers["max"]))
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

    def list_removal(self) -> list[str]:
        """Return the deletion of the endpoint. Network volumes cost until they are deleted too."""
        endpoint = self._find_endpoint()
        if endpoint is None:
            return []
        token = '-H "Authorization: Bearer $RUNPOD_API_KEY"'
        return [f"curl -X DELETE {token} {BASE_URL}/v2/serverless/{endpoint['id']}"]

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
            "timeout": (options.call_seconds or CALL_SECONDS["runpod"][0]) * 1000,
            "flashboot": "FLASHBOOT",
        }
        registry = {"registry": options.registry} if options.registry else {}
        return body | registry | self._places()

    def _workers(self) -> dict[str, int]:
        """Return the given limits of workers, without the others."""
        options = self._options
        limits = zip(
            ("min", "max", "idleTimeout"),
            (options.workers_min, options.workers_max, options.idle_seconds),
            strict=True,
        )
        return {name: value for name, value in limits if value is not None}

    def _check_limits(self, endpoint: Mapping[str, Any]) -> Check:
        limits = self._find_workers(endpoint)
        return checks.check_limits("workers", limits["min"], limits["max"])

    def _find_workers(self, endpoint: Mapping[str, Any]) -> dict[str, int]:
        return {**WORKERS, **endpoint.get("workers", {}), **self._workers()}

    def _places(self) -> dict[str, list[str]]:
        """Return the given network volumes and data centres, without the others."""
        options = self._options
        given = {"networkVolumes": options.volumes, "dataCenterIds": options.data_centres}
        return {name: list(ids) for name, ids in given.items() if ids is not None}

    def _find_limit(self, endpoint: Mapping[str, Any] | None) -> CallLimit:
        found = (endpoint or {}).get("timeout")
        kept = found / 1000 if found else CALL_SECONDS["runpod"][0]
        seconds = self._options.call_seconds or kept
        return CallLimit("RunPod", seconds, "--call-seconds raises the endpoint's limit")

    def _find_load(self, endpoint: Mapping[str, Any] | None, env: Mapping[str, str]) -> Load:
        kept = ((endpoint or {}).get("gpu") or {}).get("pools") or POOLS
        slots = env.get("MUSICGEN_SLOTS", "")
        number = int(slots) if slots.isdigit() else 1
        pools = self._options.pools or tuple(kept)
        return Load(env.get("MUSICGEN_MODEL"), pools, max(1, number))

    def _check_volumes(self, has_token: bool) -> Iterator[Check]:
        """Check that each network volume exists and lies in one of the data centres."""
        volumes = self._options.volumes or ()
        if not has_token:
            for volume in volumes:
                yield Check(f"volume {volume}", False, "not checked without a token")
            return
        try:
            found = self._api.get("/v2/network-volumes")["networkVolumes"] if volumes else []
        except DeployError as error:
            yield Check("volumes", False, str(error))
            return
        centres = {each["id"]: each["dataCenter"] for each in found}
        for volume in volumes:
            centre, allowed = centres.get(volume), self._options.data_centres
            detail = f"in {centre}" if centre else f"missing: {', '.join(centres) or 'none'} exist"
            is_met = centre is not None and (not allowed or centre in allowed)
            if centre and not is_met:
                detail += f", not in {', '.join(allowed or ())}: workers there cannot mount it"
            yield Check(f"volume {volume}", is_met, detail)

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
        if options.call_seconds and options.call_seconds * 1000 != endpoint.get("timeout"):
            changes["timeout"] = options.call_seconds * 1000
        for name, ids in self._places().items():
            if sorted(ids) != sorted(endpoint.get(name) or []):
                changes[name] = ids
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
                f"{format_count(len(same), 'endpoint')} with the name {self._options.name}: "
                "rename one"
            )
        return same[0] if same else None

    def _list_endpoints(self) -> list[dict[str, Any]]:
        endpoints: list[dict[str, Any]] = self._api.get("/v2/serverless")["endpoints"]
        return endpoints


def _hide(env: Mapping[str, str]) -> dict[str, str]:
    """Replace the values of variables, because they may be secrets."""
    return dict.fromkeys(env, "...")
