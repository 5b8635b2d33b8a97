"""A model on Replicate, pushed by Cog, and the deployment that serves it.

https://replicate.com/docs/reference/http: a push makes a version; a deployment serves one version,
and going back is serving another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.deploy import checks
from infra.deploy.rest import Rest
from infra.deploy.target import Check, DeployError, Step
from infra.replicate import push
from infra.replicate.push import PushError, find_cog

BASE_URL = "https://api.replicate.com"


@dataclass(frozen=True)
class Served:
    """`deployment`: OWNER/NAME; None only pushes, and callers name the version themselves."""

    model: str
    deployment: str | None = None
    weights: str | None = None
    hardware: str = "gpu-l40s"
    instances_min: int = 0
    instances_max: int = 1
    is_streaming: bool = False


class Replicate:
    """A release is the id of a version."""

    def __init__(self, wish: Served, token: str | None) -> None:
        self._wish = wish
        self._api = Rest(BASE_URL, token, "REPLICATE_API_TOKEN")
        self.name = f"replicate/{wish.deployment or wish.model}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        account = self._api.get("/v1/account")
        yield Check("REPLICATE_API_TOKEN", True, f"of {account.get('username')}")
        if not builds:
            return
        try:
            yield Check("cog", True, find_cog())
        except PushError as error:
            yield Check("cog", False, str(error))
        page = self._api.find(f"/v1/models/{self._wish.model}")
        if page is None:
            told = f"make {self._wish.model} at replicate.com/create, as a private one"
            yield Check("page", False, told)
            return
        yield Check("page", True, f"{self._wish.model}, {page.get('visibility')}")
        yield checks.licence(self._wish.weights or "stereo-melody-large")

    def standing(self) -> str | None:
        """What the deployment serves, or the latest version where there is no deployment."""
        if self._wish.deployment is None:
            return self._latest()
        found = self._served()
        return None if found is None else str(found["current_release"]["version"])

    def wanted(self) -> str | None:
        return None

    def preview(self) -> str:
        return ""

    def steps(self, release: str | None) -> list[Step]:
        if release is None:
            steps = [Step(f"python -m {push.__name__} {' '.join(self._push())}", self._pushed)]
            return [*steps, *([self._serve(None)] if self._wish.deployment else [])]
        if self._wish.deployment is None:
            raise DeployError(
                f"callers of {self._wish.model} name a version themselves: only a --deployment has "
                "one that can be changed for them"
            )
        return [self._serve(release)]

    def _push(self) -> list[str]:
        wish = self._wish
        model = ["--model", wish.weights] if wish.weights else []
        return [wish.model, *model, *(["--streaming"] if wish.is_streaming else [])]

    def _pushed(self) -> None:
        if push.main(self._push()):
            raise DeployError("the push failed: Cog said why")

    def _serve(self, release: str | None) -> Step:
        """`release` None: the version that was pushed last."""
        wish, found = self._wish, self._served()
        owner, _, name = str(wish.deployment).partition("/")
        shown = release or "VERSION"
        if found is not None:
            path = f"/v1/deployments/{owner}/{name}"
            return Step(
                f"PATCH {BASE_URL}{path} {{'version': {shown!r}}}",
                lambda: self._api.patch(path, {"version": release or self._newest()}),
            )
        body = {
            "name": name,
            "model": wish.model,
            "hardware": wish.hardware,
            "min_instances": wish.instances_min,
            "max_instances": wish.instances_max,
        }
        return Step(
            f"POST {BASE_URL}/v1/deployments {body | {'version': shown}}",
            lambda: self._api.post(
                "/v1/deployments", body | {"version": release or self._newest()}
            ),
        )

    def _served(self) -> Any:
        return self._api.find(f"/v1/deployments/{self._wish.deployment}")

    def _latest(self) -> str | None:
        page = self._api.get(f"/v1/models/{self._wish.model}")
        latest = page.get("latest_version")
        return str(latest["id"]) if latest else None

    def _newest(self) -> str:
        latest = self._latest()
        if latest is None:
            raise DeployError(f"{self._wish.model} has no version after the push")
        return latest
