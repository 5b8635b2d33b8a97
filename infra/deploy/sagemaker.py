"""Deployment to an endpoint of Amazon SageMaker, real-time or asynchronous.

A release is the name of an endpoint configuration. It contains a hash of everything in it, so the
same options give the same release, and an earlier one stays for a rollback. Source:
https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference.html, .../endpoint-auto-scaling.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from infra.deploy import checks
from infra.deploy.aws import (
    IMAGE,
    call,
    check_credentials,
    is_missing,
    list_instance_types,
    open_session,
)
from infra.deploy.call_limits import check_call_limits
from infra.deploy.costs import Fleet, show_costs
from infra.deploy.sagemaker_plan import DIMENSION, SageMakerOptions, SageMakerPlan
from infra.deploy.target import Check, CheckError, DeployError, Step

WAIT = {"Delay": 15, "MaxAttempts": 160}
"""At most 40 minutes: an instance, an image and weights."""
IN_SERVICE = "InService"
FAILED = "Failed"
HALF_UPDATED = "UpdateRollbackFailed"
ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
OUTPUT = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?")


class SageMaker:
    """Endpoint of SageMaker. A release is the name of its configuration."""

    def __init__(self, options: SageMakerOptions) -> None:
        self._options = options
        self._plan = SageMakerPlan(options)
        self._session, self._profile_problem = open_session(options.region)
        self._clients: dict[tuple[str, str | None], Any] = {}
        self.name = f"sagemaker/{options.name}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        """Check credentials, region, image, role and options, then show the licence."""
        if self._session is None:
            yield Check("boto3", False, self._no_session)
        region = self._region
        detail = region or "none: add --region, or set AWS_REGION"
        yield Check("region", region is not None, detail)
        credentials = check_credentials(self._session, region)
        yield credentials
        if not builds:
            return
        yield from self._check_options()
        if credentials.is_met:
            yield self._check_image()
        yield checks.show_licence(
            self._options.env.get("MUSICGEN_MODEL"), asks_hub=credentials.is_met
        )
        yield from check_call_limits(self._plan.limit, self._plan.environment, self._plan.load)
        options = self._options
        fleet = Fleet("sagemaker", [options.instance_type], options.min, options.max)
        yield show_costs(fleet)
        yield from checks.check_bucket(options.env)

    def find_current_release(self) -> str | None:
        """Return the configuration of the endpoint; None for a failed one, which serves nothing."""
        endpoint = self._find_endpoint()
        if endpoint is None or endpoint["EndpointStatus"] == FAILED:
            return None
        return str(endpoint["EndpointConfigName"])

    def predict_release(self) -> str | None:
        """Return this configuration's name; None for another scaling or an endpoint not ready."""
        endpoint = self._find_endpoint()
        is_ready = endpoint is not None and endpoint["EndpointStatus"] == IN_SERVICE
        return self._plan.release if is_ready and self._is_scaled() else None

    def preview(self) -> str:
        """Return "": SageMaker shows no differences."""
        return ""

    def plan_steps(self, release: str | None) -> list[Step]:
        """Return the calls for a new configuration, the endpoint and its scaling.

        An endpoint that is made again for an earlier release has lost its scaling too.
        """
        steps: list[Step] = []
        if release is None:
            release = self._plan.release
            if not self._has("describe_model", ModelName=release):
                steps.append(self._step("sagemaker", "create_model", self._plan.build_model()))
            if not self._has("describe_endpoint_config", EndpointConfigName=release):
                body = self._plan.build_config()
                steps.append(self._step("sagemaker", "create_endpoint_config", body))
            return [*steps, *self._serve(release, self._find_endpoint()), *self._scale(self._plan)]
        endpoint = self._find_endpoint()
        scaling = self._scale(self._plan_scaling(release)) if endpoint is None else []
        return [*self._serve(release, endpoint), *scaling]

    def list_removal(self) -> list[str]:
        """Return the end of the autoscaling and of the endpoint. Configurations are free."""
        name = self._options.name
        region = f" --region {self._region}" if self._region else ""
        target = f"--resource-id {self._plan.resource} --scalable-dimension {DIMENSION}"
        scaling = f"deregister-scalable-target --service-namespace sagemaker {target}"
        return [
            f"aws application-autoscaling {scaling}{region}",
            f"aws cloudwatch delete-alarms --alarm-names {name}-from-zero{region}",
            f"aws sagemaker delete-endpoint --endpoint-name {name}{region}",
        ]

    def _plan_scaling(self, release: str) -> SageMakerPlan:
        """Return the plan to scale an earlier release: its slots, and the given limits.

        Raises: `CheckError` for another kind of endpoint, or for limits that it cannot have.
        """
        client = self._client("sagemaker")
        config = call(client.describe_endpoint_config, EndpointConfigName=release)
        model = config["ProductionVariants"][0]["ModelName"]
        container = call(client.describe_model, ModelName=model)["PrimaryContainer"]
        slots = container.get("Environment", {}).get("MUSICGEN_SLOTS", "")
        if ("AsyncInferenceConfig" in config) != self._options.is_async:
            change = "leave out" if self._options.is_async else "add"
            raise CheckError(
                f"{self.name}: {release} is of the other kind, and the endpoint is made again: "
                f"{change} --async"
            )
        number = int(slots) if slots.isdigit() else self._options.slots
        options = replace(self._options, slots=number)
        if problem := options.find_problem():
            raise CheckError(f"{self.name}: {problem}")
        return SageMakerPlan(options)

    def _scale(self, plan: SageMakerPlan) -> list[Step]:
        steps = [self._step(*each) for each in plan.build_scaling()]
        if self._options.min == 0:
            shown = plan.build_first_instance()
            command = f"application-autoscaling.put_scaling_policy({shown}), cloudwatch alarm"
            steps.append(Step(command, lambda: self._scale_from_zero(plan)))
        return steps

    def _scale_from_zero(self, plan: SageMakerPlan) -> None:
        scaler = self._client("application-autoscaling")
        made = call(scaler.put_scaling_policy, **plan.build_first_instance())
        call(self._client("cloudwatch").put_metric_alarm, **plan.build_alarm(made["PolicyARN"]))

    def _serve(self, release: str, endpoint: Any) -> list[Step]:
        """Return the steps until the endpoint serves `release`, from whatever state it is in.

        Raises: `CheckError` for a state that only its owner can end.
        """
        name = {"EndpointName": self._options.name}
        body: dict[str, Any] = name | {"EndpointConfigName": release}
        ready = self._wait_step("endpoint_in_service")
        if endpoint is None:
            return [self._step("sagemaker", "create_endpoint", body), ready]
        status = endpoint["EndpointStatus"]
        if status == HALF_UPDATED:
            raise CheckError(
                f"{self.name}: a rolling update and its way back have failed. The endpoint still "
                "serves, with old and new instances. Repair it as Amazon's page on rolling "
                "deployments says, then run this again."
            )
        if status == FAILED:
            # Amazon allows nothing but the deletion of a failed endpoint.
            delete = self._step("sagemaker", "delete_endpoint", name)
            create = self._step("sagemaker", "create_endpoint", body)
            return [delete, self._wait_step("endpoint_deleted"), create, ready]
        # After an interrupted run: Amazon refuses a change before the end of another.
        before = [] if status == IN_SERVICE else [ready]
        if _find_goal(endpoint) == release:
            return before
        # The autoscaler's own count, not the one at the first deployment.
        update = self._step(
            "sagemaker", "update_endpoint", body | {"RetainAllVariantProperties": True}
        )
        return [*before, update, ready]

    def _wait_step(self, state: str) -> Step:
        shown = state.replace("_", "-")
        command = f"aws sagemaker wait {shown} --endpoint-name {self._options.name}"
        return Step(command, lambda: self._wait(state))

    def _wait(self, state: str) -> None:
        waiter = self._client("sagemaker").get_waiter(state)
        call(waiter.wait, EndpointName=self._options.name, WaiterConfig=WAIT)

    def _check_options(self) -> Iterator[Check]:
        options = self._options
        yield checks.check_image(options.image)
        if options.image and not IMAGE.match(options.image):
            detail = "not in ECR: push it to ACCOUNT.dkr.ecr.REGION.amazonaws.com"
            yield Check("registry", False, detail)
        yield _check_form("role", options.role, ROLE, "add --role ARN, a role of SageMaker's")
        if options.is_async:
            advice = "add --output s3://BUCKET/PREFIX for the answers"
            yield _check_form("output", options.output, OUTPUT, advice)
        if self._session is not None:
            yield self._check_instance_type()
        problem = options.find_problem()
        yield Check("instances", problem is None, problem or f"{options.min} to {options.max}")

    def _check_instance_type(self) -> Check:
        """Check the name against boto3's own description of SageMaker; asks nobody."""
        known = list_instance_types()
        name = self._options.instance_type
        detail = name if name in known else f"{name} is unknown to boto3: update it, or choose one"
        return Check("instance type", name in known, detail)

    def _check_image(self) -> Check:
        """Ask ECR for the image: SageMaker reports a missing one after minutes."""
        match = IMAGE.match(self._options.image or "")
        if match is None:
            return Check("image in ECR", True, "not checked")
        try:
            call(
                self._client("ecr", match["region"]).describe_images,
                registryId=match["account"],
                repositoryName=match["repository"],
                imageIds=[{"imageDigest": match["digest"]}],
            )
        except DeployError as error:
            return Check("image in ECR", False, str(error))
        return Check("image in ECR", True, "found")

    def _is_scaled(self) -> bool:
        found = call(
            self._client("application-autoscaling").describe_scalable_targets,
            ServiceNamespace="sagemaker",
            ResourceIds=[self._plan.resource],
        )["ScalableTargets"]
        limits = (self._options.min, self._options.max)
        return any((each["MinCapacity"], each["MaxCapacity"]) == limits for each in found)

    def _find_endpoint(self) -> Any:
        try:
            return call(
                self._client("sagemaker").describe_endpoint, EndpointName=self._options.name
            )
        except DeployError as error:
            if is_missing(error):
                return None
            raise

    def _has(self, method: str, **arguments: str) -> bool:
        try:
            call(getattr(self._client("sagemaker"), method), **arguments)
        except DeployError as error:
            if is_missing(error):
                return False
            raise
        return True

    def _step(self, service: str, method: str, body: dict[str, Any]) -> Step:
        shown = self._plan.hide(body)
        return Step(
            f"{service}.{method}({shown})",
            lambda: call(getattr(self._client(service), method), **body),
        )

    @property
    def _no_session(self) -> str:
        return self._profile_problem or "not installed: pip install -e '.[s3]'"

    @cached_property
    def _region(self) -> str | None:
        return self._options.region or (self._session.region_name if self._session else None)

    def _client(self, service: str, region: str | None = None) -> Any:
        if self._session is None:
            raise DeployError(f"boto3: {self._no_session}")
        key = service, region or self._region
        if key not in self._clients:
            self._clients[key] = call(
                self._session.client, service_name=service, region_name=key[1]
            )
        return self._clients[key]


def _find_goal(endpoint: dict[str, Any]) -> str:
    """Return the configuration that the endpoint has, or the one that a running update brings."""
    pending = endpoint.get("PendingDeploymentSummary") or {}
    return str(pending.get("EndpointConfigName") or endpoint["EndpointConfigName"])


def _check_form(name: str, value: str | None, form: re.Pattern[str], advice: str) -> Check:
    if value is None:
        return Check(name, False, f"none: {advice}")
    is_met = form.fullmatch(value) is not None
    return Check(name, is_met, value if is_met else f"{value!r} is not of that form: {advice}")
