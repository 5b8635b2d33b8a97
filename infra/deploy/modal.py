"""Deployment to Modal: the app of infra/modal, by Modal's own command line.

A release is a version of the app, as `modal app history` lists it.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from functools import cached_property

from infra.check.tools import find_tool
from infra.deploy import checks
from infra.deploy.call_limits import CallLimit, check_call_limits
from infra.deploy.costs import Fleet, show_costs
from infra.deploy.shell import build_step, run_command
from infra.deploy.speed import Load
from infra.deploy.target import Check, DeployError, Step
from infra.modal.options import ModalOptions, name_packed

MODULE = "infra.modal.app"
TOKEN = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET")
INSTALL = "not installed: pip install -e '.[modal]'"
GPUS = (
    *("T4", "L4", "A10", "L40S", "A100", "A100-40GB", "A100-80GB"),
    *("RTX-PRO-6000", "H100", "H100!", "H200", "B200", "B200+"),
)
"""GPUs of Modal. Source: https://modal.com/docs/guide/gpu, read on 2026-11-29."""


class Modal:
    """App on Modal. A release is a version, as v3."""

    def __init__(self, options: ModalOptions) -> None:
        self._options = options
        self.name = f"modal/{options.name}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        """Check the program, the token, the GPU and the secrets, and show the licence."""
        is_installed = importlib.util.find_spec("modal") is not None and find_tool("modal")
        yield Check("modal", bool(is_installed), "" if is_installed else INSTALL)
        has_token = _has_token()
        yield self._check_token(has_token and bool(is_installed), has_token)
        if not builds:
            return
        unknown = [gpu for gpu in self._options.gpu if gpu.partition(":")[0] not in GPUS]
        detail = f"unknown: {', '.join(unknown)}. There are {', '.join(GPUS)}."
        yield Check("GPU", not unknown, detail if unknown else self._describe_gpus())
        for secret in self._options.secrets:
            yield self._check_secret(secret, has_token and bool(is_installed))
        yield checks.show_licence(self._options.model, asks_hub=has_token)
        limit = CallLimit(
            "Modal", self._options.call_seconds, "--call-seconds raises Modal's limit"
        )
        gpus = [gpu.partition(":")[0] for gpu in self._options.gpu]
        load = Load(self._options.model, gpus, self._options.slots)
        yield from check_call_limits(limit, {}, load)
        options = self._options
        yield show_costs(Fleet("modal", options.gpu, options.min, options.max))

    def find_current_release(self) -> str | None:
        """Return the newest version of the app, or None."""
        status, output = run_command("modal", "app", "history", self._options.name, "--json")
        if status:
            if "No App with name" in output:
                return None
            raise DeployError(f"modal app history: {output}")
        versions = [row.get("Version") or row.get("version") for row in json.loads(output)]
        return str(versions[0]) if versions else None

    def predict_release(self) -> str | None:
        """Return None: only a deployment makes the version."""
        return None

    def preview(self) -> str:
        """Return "": Modal shows no differences."""
        return ""

    def plan_steps(self, release: str | None) -> list[Step]:
        """Return the packing of the weights and the deployment; for a release its rollback."""
        if release is not None:
            return [build_step("modal", "app", "rollback", self._options.name, release)]
        variables = self._options.to_variables()
        deploy = build_step("modal", "deploy", "-m", MODULE, environment=variables)
        if self._has_weights():
            return [deploy]
        return [
            build_step("modal", "run", "-m", f"{MODULE}::fill_volume", environment=variables),
            deploy,
        ]

    def list_removal(self) -> list[str]:
        """Return the end of the app and of the volume with its weights."""
        name = self._options.name
        return [f"modal app stop {name}", f"modal volume delete {name}-weights"]

    def _check_token(self, may_ask: bool, has_token: bool) -> Check:
        name = " and ".join(TOKEN)
        if not has_token:
            return Check(name, False, "set them, or run `modal token new`")
        if not may_ask:
            return Check(name, True, "set")
        status, output = run_command("modal", "app", "list", "--json")
        return Check(name, status == 0, "accepted" if status == 0 else output)

    def _check_secret(self, secret: str, may_ask: bool) -> Check:
        name, remedy = f"secret {secret}", f"modal secret create {secret} NAME=VALUE"
        if not may_ask:
            return Check(name, False, f"not checked without a token. To create it: {remedy}")
        try:
            is_there = secret in self._secrets
        except DeployError as error:
            return Check(name, False, str(error))
        return Check(name, is_there, "" if is_there else f"missing: {remedy}")

    @cached_property
    def _secrets(self) -> list[str]:
        status, output = run_command("modal", "secret", "list", "--json")
        if status:
            raise DeployError(f"modal secret list: {output}")
        return [str(row.get("Name") or row.get("name")) for row in json.loads(output)]

    def _has_weights(self) -> bool:
        """Whether the volume has the model's packed file. A volume not made yet has none."""
        volume = f"{self._options.name}-weights"
        status, output = run_command("modal", "volume", "ls", volume, "--json")
        if status:
            return False
        names = [row.get("Filename") or row.get("filename") for row in json.loads(output)]
        return name_packed(self._options.model) in names

    def _describe_gpus(self) -> str:
        return ", ".join(self._options.gpu) or "none: the processor serves"


def _has_token() -> bool:
    """Whether the variables or Modal's own file have a token. Asks nobody."""
    if all(os.environ.get(name) for name in TOKEN):
        return True
    if importlib.util.find_spec("modal") is None:
        return False
    from modal.config import config

    return bool(config.get("token_id") and config.get("token_secret"))
