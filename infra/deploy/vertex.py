"""Deployment to an endpoint of Vertex AI, by its REST API v1.

A release is the ID of a model. It contains a hash of the model's content, so the same options give
the same model; a rollback deploys an earlier one again. Source:
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints
"""

from __future__ import annotations

from collections.abc import Iterator
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
from infra.deploy.target import Check, DeployError, Step
from infra.deploy.vertex_leftovers import check_leftovers

HOST = "https://{region}-aiplatform.googleapis.com"
REGISTRIES = ("docker.pkg.dev", "gcr.io")
MACHINES = {
    "NVIDIA_TESLA_T4": "n1-standard-4",
    "NVIDIA_L4": "g2-standard-4",
    "NVIDIA_TESLA_A100": "a2-highgpu-1g",
    "NVIDIA_A100_80GB": "a2-ultragpu-1g",
    "NVIDIA_H100_80GB": "a3-highgpu-1g",
}
"""Smallest machine for one GPU. Source: https://cloud.google.com/vertex-ai/docs/predictions/
configure-compute"""
WITHOUT_GPU = "n2-standard-4"
PREDICT_ROUTE = "/predict"
ANSWER_MB = 10
"""Longest answer of a dedicated endpoint."""
UNSET_SECONDS = 600
"""End of a call of an endpoint that was made without `inferenceTimeout`."""
BUSY = 60
"""Use of the GPU or the processor, in percent, above which another replica starts."""


class Vertex:
    """Endpoint of Vertex AI. A release is the ID of a model."""

    def __init__(self, options: GoogleOptions) -> None:
        self._options = options
        self._url = HOST.format(region=options.region)
        self._api = GoogleApi(self._url, options.project)
        self.name = f"vertex/{options.name}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        """Check token, project, image, GPU and limits, then show the licence."""
        yield from self._api.check(self._endpoint_path)
        if self._api.has_token and self._api.project:
            yield from check_leftovers(self._api, self._parent, self._options, self.name)
        if not builds:
            return
        yield from check_options(self._options, REGISTRIES, least=1)
        gpu = self._options.gpu
        is_known = gpu is None or gpu in MACHINES
        detail = gpu or "none: the processor serves"
        remedy = f"{gpu} is unknown: {', '.join(MACHINES)}, or --no-gpu"
        yield Check("GPU", is_known, detail if is_known else remedy)
        env = self._options.env
        yield checks.show_licence(env.get("MUSICGEN_MODEL"), asks_hub=self._api.has_token)
        variables = self._options.find_variables(ANSWER_MB)
        yield from check_call_limits(self._limit, variables, self._options.load)
        if self._api.has_token and self._api.project:
            yield from self._check_timeout()
        yield show_costs(self._options.build_fleet("vertex"))
        yield from checks.check_bucket(env)

    @property
    def _limit(self) -> CallLimit:
        return CallLimit(
            "Vertex AI",
            self._options.call_seconds,
            f"--call-seconds raises a new endpoint's limit to {CALL_SECONDS['vertex'][1]} at most",
            server="vertex",
            answer_mb=ANSWER_MB,
        )

    def _check_timeout(self) -> Iterator[Check]:
        """Check the time of an existing endpoint: Vertex AI takes it only for a new one."""
        try:
            endpoint = self._find_endpoint()
        except DeployError:
            # The check of the token says it.
            return
        if endpoint is None:
            return
        found = (endpoint.get("clientConnectionConfig") or {}).get("inferenceTimeout")
        seconds = float(str(found or f"{UNSET_SECONDS}s").removesuffix("s"))
        is_met = self._options.call_seconds <= seconds
        detail = f"the endpoint ends a call after {seconds:g} s"
        remedy = (
            f"{detail}, since it was made: add --call-seconds {seconds:g}, or choose a new name"
        )
        yield Check("inferenceTimeout", is_met, detail if is_met else remedy)

    def find_current_release(self) -> str | None:
        """Return the ID of the deployed model, or None."""
        deployed = self._list_deployed()
        return _read_model(deployed[-1]) if deployed else None

    def predict_release(self) -> str | None:
        """Return the ID of the model of these options; None while an earlier one is there too.

        A deployment that was interrupted leaves the earlier model, which costs as much.
        """
        return self._name_model() if len(self._list_deployed()) < 2 else None

    def _name_model(self) -> str:
        """Return the ID of the model, with the machine in its hash."""
        content = [self._container(), self._resources(), self._options.account]
        return name_release(self._options.name, content)

    def preview(self) -> str:
        """Return "": Vertex AI shows no differences."""
        return ""

    def plan_steps(self, release: str | None) -> list[Step]:
        """Return the upload of the model, its deployment, and the end of the one before."""
        steps: list[Step] = []
        goal = release or self._name_model()
        parent = self._parent
        if release is None and self._api.rest.find(f"{parent}/models/{goal}") is None:
            model = {"displayName": self._options.name, "containerSpec": self._container()}
            body: dict[str, Any] = {"modelId": goal, "model": model}
            steps.append(self._step(f"{parent}/models:upload", body))
        if self._find_endpoint() is None:
            body = {
                "displayName": self._options.name,
                "dedicatedEndpointEnabled": True,
                "clientConnectionConfig": {"inferenceTimeout": f"{self._options.call_seconds}s"},
            }
            steps.append(self._step(f"{parent}/endpoints?endpointId={self._options.name}", body))
        deployed = {
            "model": f"{parent.removeprefix('/v1/')}/models/{goal}",
            "displayName": goal,
            "dedicatedResources": self._resources(),
        }
        if self._options.account:
            deployed["serviceAccount"] = self._options.account
        others = self._list_deployed()
        if own := [each for each in others if _read_model(each) == goal]:
            # Left by an interrupted run, and another one would need another GPU.
            if own[-1] is not others[-1]:
                steps.append(self._send_traffic(own[-1]["id"]))
            others.remove(own[-1])
        else:
            body = {"deployedModel": deployed, "trafficSplit": {"0": 100}}
            steps.append(self._step(f"{self._endpoint_path}:deployModel", body))
        for old in others:
            body = {"deployedModelId": old["id"]}
            steps.append(self._step(f"{self._endpoint_path}:undeployModel", body))
        return steps

    def list_removal(self) -> list[str]:
        """Return the end of each deployed model, then of the endpoint. Models alone are free."""
        where = f"--region={self._options.region} --project={self._api.project}"
        name, command = self._options.name, "gcloud ai endpoints"
        undeploy = [
            f"{command} undeploy-model {name} --deployed-model-id={each['id']} {where}"
            for each in self._list_deployed()
        ]
        return [*undeploy, f"{command} delete {name} {where}"]

    def _send_traffic(self, deployed_id: str) -> Step:
        """Return the step that sends all calls to a deployed model."""
        path = f"{self._endpoint_path}?updateMask=trafficSplit"
        body = {"trafficSplit": {deployed_id: 100}}
        return Step(f"PATCH {self._url}{path} {body}", lambda: self._api.rest.patch(path, body))

    @property
    def _parent(self) -> str:
        return f"/v1/projects/{self._api.project}/locations/{self._options.region}"

    @property
    def _endpoint_path(self) -> str:
        return f"{self._parent}/endpoints/{self._options.name}"

    def _find_endpoint(self) -> Any:
        return self._api.rest.find(self._endpoint_path)

    def _list_deployed(self) -> list[dict[str, Any]]:
        """Return the deployed models, the one with the traffic last."""
        endpoint = self._find_endpoint() or {}
        split = endpoint.get("trafficSplit") or {}
        deployed = endpoint.get("deployedModels") or []
        return sorted(deployed, key=lambda each: split.get(each["id"], 0))

    def _container(self) -> dict[str, Any]:
        return {
            "imageUri": self._options.image,
            "env": self._options.build_variables(ANSWER_MB),
            "ports": [{"containerPort": PORT}],
            "healthRoute": HEALTH_ROUTE,
            "predictRoute": PREDICT_ROUTE,
        }

    def _resources(self) -> dict[str, Any]:
        gpu = self._options.gpu
        machine: dict[str, Any] = {"machineType": MACHINES.get(gpu or "", WITHOUT_GPU)}
        metric = "cpu/utilization"
        if gpu:
            machine |= {"acceleratorType": gpu, "acceleratorCount": 1}
            metric = "accelerator/duty_cycle"
        return {
            "machineSpec": machine,
            "minReplicaCount": self._options.min,
            "maxReplicaCount": self._options.max,
            "autoscalingMetricSpecs": [
                {
                    "metricName": f"aiplatform.googleapis.com/prediction/online/{metric}",
                    "target": BUSY,
                }
            ],
        }

    def _step(self, path: str, body: dict[str, Any]) -> Step:
        def run() -> None:
            self._api.wait(self._api.rest.post(path, body), "/v1")

        return Step(f"POST {self._url}{path} {hide_values(body)}", run)


def _read_model(deployed: dict[str, Any]) -> str:
    return str(deployed["model"]).rpartition("/")[2].partition("@")[0]
