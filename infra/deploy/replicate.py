"""Deployment to Replicate: a model pushed by Cog, and a deployment of it.

A push makes a version. A deployment serves one version; a rollback serves an earlier one. Source:
https://replicate.com/docs/reference/http
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.deploy import checks
from infra.deploy.call_limits import CallLimit, check_call_limits
from infra.deploy.costs import Fleet, show_costs
from infra.deploy.rest import Rest
from infra.deploy.speed import Load
from infra.deploy.target import Check, DeployError, Step
from infra.replicate import push
from infra.replicate.push import PushError, find_cog

BASE_URL = "https://api.replicate.com"
CALL_SECONDS = 1800
"""Source: https://replicate.com/docs/topics/predictions/lifecycle"""


@dataclass(frozen=True)
class ReplicateOptions:
    """Options of a model. `deployment`: OWNER/NAME, or None for a push without a deployment."""

    model: str
    deployment: str | None = None
    weights: str | None = None
    hardware: str = "gpu-l40s"
    instances_min: int = 0
    instances_max: int = 1
    is_streaming: bool = False


class Replicate:
    """Model on Replicate. A release is the id of a version."""

    def __init__(self, options: ReplicateOptions, token: str | None) -> None:
        self._options = options
        self._api = Rest(BASE_URL, token, "REPLICATE_API_TOKEN")
        self.name = f"replicate/{options.deployment or options.model}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        """Check the token, Cog and the model's page, then show the licence."""
        token = self._check_token()
        yield token
        if not builds:
            return
        try:
            yield Check("cog", True, find_cog())
        except PushError as error:
            yield Check("cog", False, str(error))
        if token.is_met:
            yield self._check_page()
        limits = self._options.instances_min, self._options.instances_max
        yield checks.check_limits("instances", *limits)
        model = self._options.weights or "stereo-melody-large"
        yield checks.show_licence(model, asks_hub=token.is_met)
        load = Load(model, [self._options.hardware], 1)
        limit = CallLimit("Replicate", CALL_SECONDS, "Replicate's support raises the limit")
        yield from check_call_limits(limit, {}, load)
        if self._options.deployment is not None:
            yield show_costs(Fleet("replicate", [self._options.hardware], *limits))

    def _check_token(self) -> Check:
        token = self._api.token_check
        if not token.is_met:
            return token
        try:
            account = self._api.get("/v1/account")
        except DeployError as error:
            return Check(token.name, False, str(error))
        return Check(token.name, True, f"account {account.get('username')}")

    def _check_page(self) -> Check:
        try:
            page = self._api.find(f"/v1/models/{self._options.model}")
        except DeployError as error:
            return Check("page", False, str(error))
        if page is None:
            detail = f"create {self._options.model} as a private model at replicate.com/create"
            return Check("page", False, detail)
        return Check("page", True, f"{self._options.model}, {page.get('visibility')}")

    def find_current_release(self) -> str | None:
        """Return the version of the deployment; without a deployment, the latest version."""
        if self._options.deployment is None:
            return self._find_latest()
        deployment = self._find_deployment()
        return None if deployment is None else str(deployment["current_release"]["version"])

    def predict_release(self) -> str | None:
        """Return None: only a push makes the version."""
        return None

    def preview(self) -> str:
        """Return "": Replicate shows no differences."""
        return ""

    def plan_steps(self, release: str | None) -> list[Step]:
        """Return the push and the update of the deployment; for a release only the update."""
        if release is None:
            command = f"python -m {push.__name__} {' '.join(self._push_arguments())}"
            steps = [Step(command, self._push)]
            return [*steps, *([self._serve(None)] if self._options.deployment else [])]
        if self._options.deployment is None:
            raise DeployError(
                f"Only a deployment can go back, and --deployment is missing. Callers of "
                f"{self._options.model} choose the version themselves."
            )
        return [self._serve(release)]

    def list_removal(self) -> list[str]:
        """Return the end of the instances and of the deployment; without one, only calls cost.

        Replicate deletes a deployment only after 15 minutes without an instance and a call. Source:
        https://replicate.com/docs/topics/deployments/delete-a-deployment
        """
        if self._options.deployment is None:
            return []
        token = '-H "Authorization: Bearer $REPLICATE_API_TOKEN"'
        json = '-H "Content-Type: application/json" -d \'{"min_instances": 0}\''
        url = f"{BASE_URL}/v1/deployments/{self._options.deployment}"
        return [
            f"curl -X PATCH {token} {json} {url}",
            f"curl -X DELETE {token} {url}  # after 15 minutes without a call",
        ]

    def _push_arguments(self) -> list[str]:
        options = self._options
        model = ["--model", options.weights] if options.weights else []
        return [options.model, *model, *(["--streaming"] if options.is_streaming else [])]

    def _push(self) -> None:
        if push.main(self._push_arguments()):
            raise DeployError("the push failed: see Cog's message above")

    def _serve(self, release: str | None) -> Step:
        """Return a step to serve `release`; None is the latest version after the push."""
        options, deployment = self._options, self._find_deployment()
        owner, _, name = str(options.deployment).partition("/")
        shown = release or "VERSION"
        if deployment is not None:
            path = f"/v1/deployments/{owner}/{name}"
            return Step(
                f"PATCH {BASE_URL}{path} {{'version': {shown!r}}}",
                lambda: self._api.patch(path, {"version": release or self._require_latest()}),
            )
        body = {
            "name": name,
            "model": options.model,
            "hardware": options.hardware,
            "min_instances": options.instances_min,
            "max_instances": options.instances_max,
        }
        return Step(
            f"POST {BASE_URL}/v1/deployments {body | {'version': shown}}",
            lambda: self._api.post(
                "/v1/deployments", body | {"version": release or self._require_latest()}
            ),
        )

    def _find_deployment(self) -> Any:
        return self._api.find(f"/v1/deployments/{self._options.deployment}")

    def _find_latest(self) -> str | None:
        page = self._api.get(f"/v1/models/{self._options.model}")
        latest = page.get("latest_version")
        return str(latest["id"]) if latest else None

    def _require_latest(self) -> str:
        latest = self._find_latest()
        if latest is None:
            raise DeployError(f"{self._options.model} has no version after the push")
        return latest
