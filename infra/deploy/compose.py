"""Deployment to one machine with Docker: infra/compose/compose.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from infra.check.tools import ROOT
from infra.deploy import checks
from infra.deploy.shell import build_step, read_output, run_command
from infra.deploy.target import Check, DeployError, Step

FILE = "infra/compose/compose.yaml"
CPU_FILE = "infra/compose/compose.cpu.yaml"
ENV_FILE = "infra/compose/.env"
OURS = ("api", "worker")
WAIT_SECONDS = 900
"""Most of it for the worker's image and weights."""


class Compose:
    """Compose project on this machine. A release is `api=IMAGE worker=IMAGE`.

    Name images by digest, or by one tag for each build: a tag in use again has no way back.
    """

    name = "compose"

    def __init__(self, is_monitored: bool = False, is_on_cpu: bool = False) -> None:
        profile = ("--profile", "monitoring") if is_monitored else ()
        override = ("-f", CPU_FILE) if is_on_cpu else ()
        self._is_on_cpu = is_on_cpu
        self._base = ("docker", "compose", "-f", FILE, *override, *profile)

    def preflight(self, builds: bool) -> Iterator[Check]:
        """Check Docker, the settings and the memory; for a GPU also its toolkit and driver."""
        try:
            status, output = run_command("docker", "info", "--format", "{{json .Runtimes}}")
        except DeployError as error:
            status, output = 1, f"{error}. Install Docker with its plugin compose."
        yield Check("docker", status == 0, "responds" if status == 0 else output)
        if status:
            yield from self._check_without_docker()
            return
        if not self._is_on_cpu:
            has_toolkit = "nvidia" in output
            missing = "Docker has no nvidia runtime: install it, or add --cpu to run without a GPU"
            yield Check("NVIDIA container toolkit", has_toolkit, "" if has_toolkit else missing)
        status, output = run_command(*self._base, "config", "--quiet")
        yield Check("settings", status == 0, output and f"{output}: infra/compose/.env")
        if status:
            return
        model = self._config()["services"]["worker"]["environment"].get("MUSICGEN_MODEL")
        yield self._check_machine(model)
        if model:
            yield checks.show_licence(model)

    def _check_without_docker(self) -> Iterator[Check]:
        """Check what can be checked without Docker: its file of settings, the GPU or the memory."""
        file = ROOT / ENV_FILE
        detail = "" if file.is_file() else "missing: copy .env.example, docs/compose.md"
        yield Check(ENV_FILE, file.is_file(), detail)
        yield self._check_machine(None)

    def _check_machine(self, model: str | None) -> Check:
        """Check the machine's memory, or its GPU, for a `model` of the catalog."""
        if self._is_on_cpu:
            return checks.check_local_memory(model)
        gpu = checks.check_local_gpu(model)
        advice = "" if gpu.is_met else ". --cpu runs the worker without a GPU"
        return replace(gpu, detail=gpu.detail + advice)

    def find_current_release(self) -> str | None:
        """Return the images of the running services, or None."""
        running = {}
        for line in read_output(*self._base, "ps", "--format", "json", *OURS).splitlines():
            container = json.loads(line)
            running[container["Service"]] = container["Image"]
        return " ".join(f"{name}={running[name]}" for name in OURS if name in running) or None

    def predict_release(self) -> str | None:
        """Return None: settings can change without the images, and only `up` detects it."""
        return None

    def preview(self) -> str:
        """Return the output of a dry run of `docker compose up`."""
        dry_run = (*self._base[:2], "--dry-run", *self._base[2:])
        status, output = run_command(*dry_run, "up", "--detach")
        if status:
            raise DeployError(output)
        return output

    def plan_steps(self, release: str | None) -> list[Step]:
        """Return one step: `docker compose up`, with the images of `release`."""
        up = (*self._base, "up", "--detach", "--remove-orphans", "--wait", "--wait-timeout")
        images = _parse_images(release) if release else {}
        return [build_step(*up, str(WAIT_SECONDS), environment=images)]

    def list_removal(self) -> list[str]:
        """Return the end of the services. The volumes with clips and jobs stay."""
        return [f"{' '.join(self._base)} down"]

    def _config(self) -> Any:
        return json.loads(read_output(*self._base, "config", "--format", "json"))


def _parse_images(release: str) -> dict[str, str]:
    """Return the images by variable of the compose file. Raises: `DeployError`."""
    images = {}
    for part in release.split():
        service, _, image = part.partition("=")
        if service not in OURS or not image:
            raise DeployError(f"{release!r} is not a release. The form is api=IMAGE worker=IMAGE.")
        images[f"{service.upper()}_IMAGE"] = image
    return images
