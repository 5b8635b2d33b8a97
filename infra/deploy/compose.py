"""One machine with Docker: infra/compose/compose.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from infra.deploy import checks
from infra.deploy.shell import answer, ask, step
from infra.deploy.target import Check, DeployError, Step

FILE = "infra/compose/compose.yaml"
OURS = ("api", "worker")
WAIT_SECONDS = 900
"""Of which the worker's image and weights take the most."""


class Compose:
    """A release is `api=IMAGE worker=IMAGE`: name them by digest, or by a tag of each build's own,
    or there is no way back to them."""

    name = "compose"

    def __init__(self, is_monitored: bool = False) -> None:
        profile = ("--profile", "monitoring") if is_monitored else ()
        self._base = ("docker", "compose", "-f", FILE, *profile)

    def preflight(self, builds: bool) -> Iterator[Check]:
        status, said = ask("docker", "info", "--format", "{{json .Runtimes}}")
        yield Check("docker", status == 0, "answers" if status == 0 else said)
        if status:
            return
        has_toolkit = "nvidia" in said
        told = "" if has_toolkit else "Docker does not know NVIDIA's: install its container toolkit"
        yield Check("container toolkit", has_toolkit, told)
        status, said = ask(*self._base, "config", "--quiet")
        yield Check("settings", status == 0, said and f"{said}: infra/compose/.env")
        if status:
            return
        model = self._config()["services"]["worker"]["environment"].get("MUSICGEN_MODEL")
        yield checks.gpu_here(model)
        if model:
            yield checks.licence(model)

    def standing(self) -> str | None:
        running = {}
        for line in answer(*self._base, "ps", "--format", "json", *OURS).splitlines():
            each = json.loads(line)
            running[each["Service"]] = each["Image"]
        return " ".join(f"{name}={running[name]}" for name in OURS if name in running) or None

    def wanted(self) -> str | None:
        """Settings may have changed where images did not: `up` finds that out by itself."""
        return None

    def preview(self) -> str:
        status, said = ask(*self._base[:2], "--dry-run", *self._base[2:], "up", "--detach")
        if status:
            raise DeployError(said)
        return said

    def steps(self, release: str | None) -> list[Step]:
        up = (*self._base, "up", "--detach", "--remove-orphans", "--wait", "--wait-timeout")
        images = _images(release) if release else {}
        return [step(*up, str(WAIT_SECONDS), environment=images)]

    def _config(self) -> Any:
        return json.loads(answer(*self._base, "config", "--format", "json"))


def _images(release: str) -> dict[str, str]:
    """By the variable of the compose file. Raises: `DeployError`."""
    images = {}
    for part in release.split():
        service, _, image = part.partition("=")
        if service not in OURS or not image:
            raise DeployError(f"{release!r} is not api=IMAGE worker=IMAGE")
        images[f"{service.upper()}_IMAGE"] = image
    return images
