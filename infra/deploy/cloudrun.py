"""Deployment to a service of Cloud Run with a GPU, by its Admin API v2.

A release is a revision. Its name contains a hash of its content, so the same options give the same
revision, and a rollback sends the traffic to an earlier one. Source:
https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from infra.deploy import checks
from infra.deploy.call_limits import CallLimit, check_call_limits
from infra.deploy.costs import show_costs
from infra.deploy.google_cloud import (
    HEALTH_ROUTE,
    PORT,
    GoogleApi,
    GoogleOptions,
    check_options,
    hide_values,
    name_release,
)
from infra.deploy.option_types import CALL_SECONDS
from infra.deploy.target import Check, CheckError, DeployError, Step

BASE_URL = "https://run.googleapis.com"
REGISTRIES = ("docker.pkg.dev", "gcr.io", "docker.io")
GPUS = {"nvidia-l4": ("4", "16Gi"), "nvidia-rtx-pro-6000": ("20", "80Gi")}
"""GPU with its fewest processors and its least memory."""
DRIVERS = {"nvidia-l4": 535, "nvidia-rtx-pro-6000": 580}
"""NVIDIA drivers of Cloud Run, both tables read on 2026-11-29.
Source: https://cloud.google.com/run/docs/configuring/services/gpu"""
WITHOUT_GPU = ("4", "8Gi")
ANSWER_MB = 32 * 2**20 / 1e6
STOP_SECONDS = 10
ATTEMPTS_MAX = 20
PROBE_SECONDS, PROBES = 10, 24
"""Together 240 s, the longest time that Cloud Run waits for a start."""
_BY_REVISION = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
_LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"


class CloudRun:
    """Service of Cloud Run. A release is the name of a revision."""

    def __init__(self, options: GoogleOptions) -> None:
        self._options = options
        self._api = GoogleApi(BASE_URL, options.project)
        self.name = f"cloudrun/{options.name}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        """Check token, project, image, GPU and limits, then show the licence."""
        yield from self._api.check(self._path)
        if not builds:
            return
        yield from check_options(self._options, REGISTRIES, least=0)
        yield self._check_gpu()
        env = self._options.env
        yield checks.show_licence(env.get("MUSICGEN_MODEL"), asks_hub=self._api.has_token)
        yield from check_call_limits(
            self._limit, self._options.find_variables(None), self._options.load
        )
        yield show_costs(self._options.build_fleet("cloudrun"))
        yield from checks.check_bucket(env)

    @property
    def _limit(self) -> CallLimit:
        return CallLimit(
            "Cloud Run",
            self._options.call_seconds,
            f"--call-seconds raises Cloud Run's own limit to {CALL_SECONDS['cloudrun'][1]} at most",
            server="cloudrun",
            answer_mb=ANSWER_MB,
            stop_seconds=STOP_SECONDS,
        )

    def _check_gpu(self) -> Check:
        """Check the GPU's name, and its driver for the CUDA of the image."""
        gpu = self._options.gpu
        if gpu is None:
            return Check("GPU", True, "none: the processor serves")
        if gpu not in GPUS:
            return Check("GPU", False, f"{gpu} is unknown: {', '.join(GPUS)}, or --no-gpu")
        driver = self._options.driver or DRIVERS[gpu]
        if driver < checks.DRIVER:
            others = ", ".join(name for name, number in DRIVERS.items() if number >= checks.DRIVER)
            detail = f"{gpu} has driver {driver}, and the image's CUDA needs {checks.DRIVER}"
            advice = f"choose {others}, or name a newer driver of Cloud Run with --driver"
            return Check("GPU", False, f"{detail}: {advice}")
        return Check("GPU", True, f"{gpu}, driver {driver}")

    def find_current_release(self) -> str | None:
        """Return the revision with the most traffic, or None."""
        service = self._service
        if service is None:
            return None
        shares = service.get("traffic") or [{}]
        # A tag has an entry of its own, without traffic.
        first = max(shares, key=lambda share: share.get("percent", 0))
        revision = first.get("revision") or service.get("latestReadyRevision")
        return str(revision).rpartition("/")[2] if revision else None

    def predict_release(self) -> str | None:
        """Return the revision of these options."""
        return self._choose_revision()[0]

    def preview(self) -> str:
        """Return "": Cloud Run shows no differences."""
        return ""

    def plan_steps(self, release: str | None) -> list[Step]:
        """Return one call: a new service, a new revision, or the traffic to an earlier one."""
        own, is_there = self._choose_revision()
        if release is None and self._service is None:
            path = f"{self._parent}?serviceId={self._options.name}"
            return [self._step("POST", path, {"template": self._template | {"revision": own}})]
        if self._service is None:
            raise DeployError(f"The service {self._options.name} does not exist yet.")
        if release is not None and (failure := _find_failure(self._find_revision(release))):
            raise CheckError(
                f"The revision {release} never started ({failure}): choose another with --to, or "
                "deploy its image again without --to."
            )
        if release is not None or is_there:
            traffic = [{"type": _BY_REVISION, "revision": release or own, "percent": 100}]
            return [self._step("PATCH", f"{self._path}?updateMask=traffic", {"traffic": traffic})]
        body = {
            "template": self._template | {"revision": own},
            "traffic": [{"type": _LATEST, "percent": 100}],
        }
        return [self._step("PATCH", f"{self._path}?updateMask=template,traffic", body)]

    def list_removal(self) -> list[str]:
        """Return the deletion of the service with its revisions."""
        where = f"--region={self._options.region} --project={self._api.project}"
        return [f"gcloud run services delete {self._options.name} {where}"]

    @property
    def _parent(self) -> str:
        return f"/v2/projects/{self._api.project}/locations/{self._options.region}/services"

    @property
    def _path(self) -> str:
        return f"{self._parent}/{self._options.name}"

    @property
    def _service(self) -> Any:
        return self._api.rest.find(self._path)

    def _choose_revision(self) -> tuple[str, bool]:
        """Return the name of the revision of these options, and whether it exists.

        Cloud Run never starts a failed revision again, so the next attempt has another name.
        Raises: `DeployError` after 20 failed ones.
        """
        for attempt in range(ATTEMPTS_MAX):
            content: Any = [self._template, attempt] if attempt else self._template
            name = name_release(self._options.name, content)
            found = self._find_revision(name)
            failure = _find_failure(found)
            if failure is None:
                return name, found is not None
        raise DeployError(
            f"{ATTEMPTS_MAX} revisions with these options have failed, the last one by: {failure}. "
            "Correct the options, or delete the failed revisions."
        )

    def _find_revision(self, name: str) -> Any:
        return self._api.rest.find(f"{self._path}/revisions/{name}")

    @cached_property
    def _template(self) -> dict[str, Any]:
        options = self._options
        processors, memory = GPUS.get(options.gpu or "", WITHOUT_GPU)
        gpu: dict[str, Any] = {}
        limits = {"cpu": processors, "memory": memory}
        if options.gpu:
            limits["nvidia.com/gpu"] = "1"
            gpu = {
                "nodeSelector": {"accelerator": options.gpu},
                "gpuZonalRedundancyDisabled": True,
            }
        container = {
            "image": options.image,
            "ports": [{"containerPort": PORT}],
            "env": options.build_variables(None),
            "resources": {"limits": limits, "cpuIdle": False, "startupCpuBoost": True},
            "startupProbe": {
                "httpGet": {"path": HEALTH_ROUTE, "port": PORT},
                "periodSeconds": PROBE_SECONDS,
                "timeoutSeconds": PROBE_SECONDS,
                "failureThreshold": PROBES,
            },
        }
        account = {"serviceAccount": options.account} if options.account else {}
        return {
            "containers": [container],
            "scaling": {"minInstanceCount": options.min, "maxInstanceCount": options.max},
            "maxInstanceRequestConcurrency": options.slots,
            "timeout": f"{options.call_seconds}s",
            **gpu,
            **account,
        }

    def _step(self, method: str, path: str, body: dict[str, Any]) -> Step:
        def run() -> None:
            send = self._api.rest.post if method == "POST" else self._api.rest.patch
            self._api.wait(send(path, body), "/v2")

        return Step(f"{method} {BASE_URL}{path} {hide_values(body)}", run)


def _find_failure(revision: Any) -> str | None:
    """Return the reason why a revision never became ready; None if it did, or may yet."""
    for condition in (revision or {}).get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("state") == "CONDITION_FAILED":
            return str(condition.get("message") or condition.get("reason") or "no reason given")
    return None
