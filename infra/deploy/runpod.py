"""A serverless endpoint of RunPod, by its REST API v2: https://docs.runpod.io/api-reference-v2."""

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
"""The lowest that the image's torch runs on."""
LONGEST_JOB_MS = 1_200_000
QUEUE_DELAY_SECONDS = 4
POOLS = ("ADA_24", "AMPERE_24")
WORKERS = {"min": 0, "max": 3, "idleTimeout": 60}
"""Of a new endpoint, where nothing else is asked for."""
SECRET = "{{ RUNPOD_SECRET_"
"""How a variable names a secret that RunPod keeps: https://docs.runpod.io/pods/templates/secrets"""


@dataclass(frozen=True)
class Endpoint:
    """What is asked for. None leaves an endpoint as it is, and is the default of a new one. `env`:
    variables to add or change; the others stay."""

    name: str
    image: str | None = None
    pools: tuple[str, ...] | None = None
    workers_min: int | None = None
    workers_max: int | None = None
    idle_seconds: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    registry: str | None = None


class RunPod:
    """A release is the reference of an image."""

    def __init__(self, wish: Endpoint, token: str | None) -> None:
        self._wish = wish
        self._api = Rest(BASE_URL, token, "RUNPOD_API_KEY")
        self.name = f"runpod/{wish.name}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        yield Check("RUNPOD_API_KEY", True, f"sees {len(self._all())} endpoints")
        if builds and self._wish.image is not None:
            is_pinned = "@sha256:" in self._wish.image
            told = self._wish.image if is_pinned else f"{self._wish.image}: name it by its digest"
            yield Check("image", is_pinned, told)
        env = self._env()
        yield checks.licence(env.get("MUSICGEN_MODEL", "demo"))
        if SECRET not in "".join(env.values()):
            yield from checks.bucket(env)

    def standing(self) -> str | None:
        found = self._found()
        return None if found is None else str(found.get("image"))

    def wanted(self) -> str | None:
        found = self._found()
        return self._wish.image if found is not None and not self._changes(found) else None

    def preview(self) -> str:
        return ""

    def steps(self, release: str | None) -> list[Step]:
        found = self._found()
        if release is not None:
            return [self._update(found, {"image": release})]
        if found is None:
            body = self._new()
            shown = body | {"env": _hidden(body["env"])}
            return [
                Step(
                    f"POST {BASE_URL}/v2/serverless {shown}",
                    lambda: self._api.post("/v2/serverless", body),
                )
            ]
        changes = self._changes(found)
        return [self._update(found, changes)] if changes else []

    def _update(self, found: Mapping[str, Any] | None, body: dict[str, Any]) -> Step:
        if found is None:
            raise DeployError(f"there is no endpoint {self._wish.name} to change")
        path = f"/v2/serverless/{found['id']}"
        shown = body | ({"env": _hidden(body["env"])} if "env" in body else {})
        return Step(f"PATCH {BASE_URL}{path} {shown}", lambda: self._api.patch(path, body))

    def _new(self) -> dict[str, Any]:
        wish = self._wish
        if wish.image is None:
            raise DeployError(f"there is no endpoint {wish.name} yet: give --image")
        body = {
            "name": wish.name,
            "type": "QUEUE",
            "image": wish.image,
            "disk": DISK_GB,
            "env": dict(wish.env),
            "gpu": {"pools": list(wish.pools or POOLS), "count": 1, "minCudaVersion": CUDA},
            "workers": WORKERS | self._workers(),
            "scaling": {"type": "QUEUE_DELAY", "queueDelay": QUEUE_DELAY_SECONDS},
            "timeout": LONGEST_JOB_MS,
            "flashboot": "FLASHBOOT",
        }
        return body | ({"registry": wish.registry} if wish.registry else {})

    def _workers(self) -> dict[str, int]:
        """What is asked for of them."""
        wish = self._wish
        asked = zip(WORKERS, (wish.workers_min, wish.workers_max, wish.idle_seconds), strict=True)
        return {name: value for name, value in asked if value is not None}

    def _changes(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Only what differs is sent. Pools and exclusions are one selection there, and `env` is
        replaced as a whole, so what stays of them is said again."""
        wish, changes = self._wish, dict[str, Any]()
        if wish.image not in (None, found.get("image")):
            changes["image"] = wish.image
        if found["workers"] | self._workers() != found["workers"]:
            changes["workers"] = self._workers()
        gpu = found.get("gpu") or {}
        if wish.pools is not None and tuple(gpu.get("pools", ())) != wish.pools:
            kept = {"excludedTypes": gpu["excludedTypes"]} if gpu.get("excludedTypes") else {}
            changes["gpu"] = {"pools": list(wish.pools)} | kept
        env = self._env(found)
        if env != found.get("env", {}):
            changes["env"] = env
        return changes

    def _env(self, found: Mapping[str, Any] | None = None) -> dict[str, str]:
        found = self._found() if found is None else found
        return {**(found.get("env") or {} if found else {}), **self._wish.env}

    def _found(self) -> Mapping[str, Any] | None:
        same = [each for each in self._all() if each["name"] == self._wish.name]
        if len(same) > 1:
            raise DeployError(f"{len(same)} endpoints are called {self._wish.name}: rename one")
        return same[0] if same else None

    def _all(self) -> list[dict[str, Any]]:
        endpoints: list[dict[str, Any]] = self._api.get("/v2/serverless")["endpoints"]
        return endpoints


def _hidden(env: Mapping[str, str]) -> dict[str, str]:
    """Values may be secrets: the names are shown."""
    return dict.fromkeys(env, "...")
