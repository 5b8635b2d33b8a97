"""What Cloud Run and Vertex AI have in common: token, project, options, long operations."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.check.tools import find_tool
from infra.deploy import checks
from infra.deploy.costs import Fleet
from infra.deploy.rest import Rest
from infra.deploy.shell import run_command
from infra.deploy.speed import Load
from infra.deploy.target import Check, DeployError

TOKEN = "GOOGLE_OAUTH_ACCESS_TOKEN"
PROJECT = "GOOGLE_CLOUD_PROJECT"
WAIT_SECONDS, POLL_SECONDS = 2400, 5.0
"""An operation pulls an image and loads a model."""
PORT = 8080
ANSWER_SECONDS = 5
"""Time kept for the way of an answer, before the platform hangs up."""
HEALTH_ROUTE = "/ping"


@dataclass(frozen=True)
class GoogleOptions:
    """Options of a service or endpoint.

    `slots`: calls at once in one instance. `call_seconds`: until the platform ends a call.
    `driver`: major version of NVIDIA's driver, where it is newer than documented.
    """

    name: str
    image: str | None = None
    project: str | None = None
    region: str = "us-central1"
    gpu: str | None = None
    slots: int = 4
    min: int = 0
    max: int = 2
    account: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    driver: int | None = None
    call_seconds: int = 600

    def find_variables(self, answer_mb: int | None) -> dict[str, str]:
        """Return the variables of the container.

        `answer_mb`: limit of an answer, unless `env` has another one. So is the limit of a call.
        """
        seconds = self.call_seconds - ANSWER_SECONDS
        values = {"MUSICGEN_SLOTS": str(self.slots), "MUSICGEN_CALL_SECONDS": str(seconds)}
        if answer_mb is not None:
            values["MUSICGEN_ANSWER_MB"] = str(answer_mb)
        return values | dict(self.env)

    def build_variables(self, answer_mb: int | None) -> list[dict[str, str]]:
        """Return the variables of the container, as Google's APIs list them."""
        values = self.find_variables(answer_mb)
        return [{"name": name, "value": values[name]} for name in sorted(values)]

    def build_fleet(self, platform: str) -> Fleet:
        """Return the instances, for their price on a platform."""
        return Fleet(platform, [self.gpu] if self.gpu else [], self.min, self.max)

    @property
    def load(self) -> Load:
        """Model, GPU and calls at once, for an estimate."""
        slots = self.env.get("MUSICGEN_SLOTS", "")
        own = int(slots) if slots.isdigit() else self.slots
        gpus = [self.gpu] if self.gpu else []
        return Load(self.env.get("MUSICGEN_MODEL"), gpus, max(1, own))


class GoogleApi:
    """Google's HTTP API with the token and the project of this machine."""

    def __init__(self, base_url: str, project: str | None) -> None:
        token = os.environ.get(TOKEN) or _read_gcloud("auth", "print-access-token")
        self._rest = Rest(base_url, token, TOKEN)
        self.has_token = bool(token)
        given = project or os.environ.get(PROJECT)
        self.project = given or _read_gcloud("config", "get", "project")

    @property
    def rest(self) -> Rest:
        """Client with the token."""
        return self._rest

    def check(self, path: str) -> Iterator[Check]:
        """Check project and token, and both together by a GET of `path`."""
        detail = self.project or f"none: add --project, or set {PROJECT}"
        yield Check("project", bool(self.project), detail)
        remedy = f"none: run `gcloud auth login`, or set {TOKEN}"
        if not self.has_token or not self.project:
            yield Check("Google token", self.has_token, "" if self.has_token else remedy)
            return
        try:
            self._rest.find(path)
        except DeployError as error:
            yield Check("Google token", False, str(error))
        else:
            yield Check("Google token", True, "accepted")

    def wait(self, operation: Any, path: str) -> Any:
        """Wait for a long operation and return its response. `path`: before its name.

        Raises: `DeployError` with the operation's own error, or after 40 minutes.
        """
        end = time.monotonic() + WAIT_SECONDS
        while not operation.get("done"):
            if time.monotonic() > end:
                raise DeployError(f"{operation['name']}: not done after {WAIT_SECONDS} s")
            time.sleep(POLL_SECONDS)
            operation = self._rest.get(f"{path}/{operation['name']}")
        if error := operation.get("error"):
            raise DeployError(f"{operation['name']}: {error.get('message') or error}")
        return operation.get("response")


def check_options(
    options: GoogleOptions, registries: tuple[str, ...], least: int
) -> Iterator[Check]:
    """Check image, registry and limits. `least`: fewest instances that the platform allows."""
    yield checks.check_image(options.image)
    host = (options.image or "").partition("/")[0]
    if options.image and not any(host.endswith(each) for each in registries):
        detail = f"{host}: push the image to REGION-docker.pkg.dev/PROJECT/REPOSITORY"
        yield Check("registry", False, detail)
    is_met = least <= options.min <= options.max and options.max >= 1
    detail = f"{options.min} to {options.max}"
    remedy = f"{detail}: --min must be between {least} and --max"
    yield Check("instances", is_met, detail if is_met else remedy)
    yield Check("slots", 1 <= options.slots <= 1000, f"{options.slots}")


def name_release(name: str, content: object) -> str:
    """Return a name with a hash of the content, at most 63 characters."""
    text = json.dumps(content, sort_keys=True)
    return f"{name[:50]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def hide_values(body: Any) -> Any:
    """Return a body without the values of variables, because they may be secrets."""
    if isinstance(body, list):
        return [hide_values(each) for each in body]
    if not isinstance(body, dict):
        return body
    if body.keys() == {"name", "value"}:
        return body | {"value": "..."}
    return {key: hide_values(value) for key, value in body.items()}


def _read_gcloud(*arguments: str) -> str | None:
    """Return the answer of gcloud, or None without gcloud or without an answer."""
    if find_tool("gcloud") is None:
        return None
    status, output = run_command("gcloud", *arguments)
    return output if status == 0 and output and output != "(unset)" else None
