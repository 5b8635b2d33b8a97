"""Bodies of the calls that make an endpoint of SageMaker and its autoscaling."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.deploy.call_limits import CallLimit
from infra.deploy.speed import Load

VARIANT = "AllTraffic"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
START_SECONDS = 1200
"""For a download of an image's weights, until the first health check succeeds."""
IDLE_SECONDS = 300
ASYNC_LIMITS = {"MUSICGEN_ANSWER_MB": "100", "MUSICGEN_CALL_SECONDS": "3595"}
"""An asynchronous call may take an hour, and its answer is a file in S3."""
REAL_TIME_SECONDS, ASYNC_SECONDS, ASYNC_CALLER_SECONDS = 60, 3600, 900
ANSWER_MB, ASYNC_ANSWER_MB = 25, 1000
STOP_SECONDS = 30
"""Limits of a call; an asynchronous one ends after 15 minutes unless its caller says more. Source:
https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference.html"""
ASYNC_MAX = 1000
"""Calls at once in one instance of an asynchronous endpoint: SageMaker's limit."""


@dataclass(frozen=True)
class SageMakerOptions:
    """Options of an endpoint.

    `output`: S3 address for the answers of an asynchronous one. `slots`: calls at once in one
    instance. `env`: settings of the container.
    """

    name: str
    image: str | None = None
    role: str | None = None
    region: str | None = None
    instance_type: str = "ml.g6.xlarge"
    is_async: bool = False
    output: str | None = None
    slots: int = 4
    min: int = 0
    max: int = 2
    env: Mapping[str, str] = field(default_factory=dict)

    def find_problem(self) -> str | None:
        """Return the problem of the limits, or None."""
        if not 0 <= self.min <= self.max or self.max < 1:
            return f"--min {self.min} and --max {self.max} are no range"
        if self.min == 0 and not self.is_async:
            return "a real-time endpoint keeps one instance: add --min 1, or --async"
        if not 1 <= self.slots <= ASYNC_MAX:
            return f"--slots must be between 1 and {ASYNC_MAX}"
        return None


class SageMakerPlan:
    """Bodies for one set of options."""

    def __init__(self, options: SageMakerOptions) -> None:
        self._options = options
        self.resource = f"endpoint/{options.name}/variant/{VARIANT}"
        """Name of the endpoint for the autoscaler."""

    @property
    def limit(self) -> CallLimit:
        """Limits of a call."""
        if self._options.is_async:
            return CallLimit(
                "SageMaker",
                ASYNC_SECONDS,
                "",
                ASYNC_CALLER_SECONDS,
                f"unless callers send InvocationTimeoutSeconds={ASYNC_SECONDS}",
                server="sagemaker",
                answer_mb=ASYNC_ANSWER_MB,
                stop_seconds=STOP_SECONDS,
            )
        return CallLimit(
            "SageMaker",
            REAL_TIME_SECONDS,
            "--async allows an hour",
            server="sagemaker",
            answer_mb=ANSWER_MB,
            stop_seconds=STOP_SECONDS,
        )

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the container."""
        env = {"MUSICGEN_SLOTS": str(self._options.slots)}
        return env | (ASYNC_LIMITS if self._options.is_async else {}) | dict(self._options.env)

    @property
    def load(self) -> Load:
        """Model, GPU and calls at once, for an estimate."""
        family = self._options.instance_type.rpartition(".")[0]
        slots = self.environment["MUSICGEN_SLOTS"]
        number = int(slots) if slots.isdigit() else self._options.slots
        return Load(self._options.env.get("MUSICGEN_MODEL"), [family], max(1, number))

    @property
    def release(self) -> str:
        """Name of the model and of the configuration, at most 63 characters."""
        parts = [self._container(), self._variant(), self._asynchronous(), self._options.role]
        text = json.dumps(parts, sort_keys=True)
        return f"{self._options.name[:50]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def build_model(self) -> dict[str, Any]:
        """Return the body of CreateModel."""
        return {
            "ModelName": self.release,
            "ExecutionRoleArn": self._options.role,
            "PrimaryContainer": self._container(),
        }

    def build_config(self) -> dict[str, Any]:
        """Return the body of CreateEndpointConfig."""
        body: dict[str, Any] = {
            "EndpointConfigName": self.release,
            "ProductionVariants": [self._variant() | {"ModelName": self.release}],
        }
        return body | self._asynchronous()

    def build_scaling(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return the service, the method and the body of each call for the autoscaling."""
        target = self._target()
        policy = target | {
            "PolicyName": f"{self._options.name}-load",
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": {
                "TargetValue": float(self._options.slots),
                "ScaleInCooldown": IDLE_SECONDS,
                "ScaleOutCooldown": 60,
            }
            | self._metric(),
        }
        limits = target | {"MinCapacity": self._options.min, "MaxCapacity": self._options.max}
        return [
            ("application-autoscaling", "register_scalable_target", limits),
            ("application-autoscaling", "put_scaling_policy", policy),
        ]

    @staticmethod
    def hide(body: dict[str, Any]) -> dict[str, Any]:
        """Return a body without the values of variables, because they may be secrets."""
        container = body.get("PrimaryContainer")
        if container is None:
            return body
        hidden = container | {"Environment": dict.fromkeys(container["Environment"], "...")}
        return body | {"PrimaryContainer": hidden}

    def build_first_instance(self) -> dict[str, Any]:
        """Return the body of PutScalingPolicy for the step from no instance to the first.

        Without an instance there is no backlog for each instance to track, so an alarm makes it.
        """
        return self._target() | {
            "PolicyName": f"{self._options.name}-from-zero",
            "PolicyType": "StepScaling",
            "StepScalingPolicyConfiguration": {
                "AdjustmentType": "ChangeInCapacity",
                "MetricAggregationType": "Average",
                "Cooldown": IDLE_SECONDS,
                "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
            },
        }

    def build_alarm(self, policy_arn: str) -> dict[str, Any]:
        """Return the body of PutMetricAlarm for the first instance."""
        return {
            "AlarmName": f"{self._options.name}-from-zero",
            "Namespace": "AWS/SageMaker",
            "MetricName": "HasBacklogWithoutCapacity",
            "Dimensions": [{"Name": "EndpointName", "Value": self._options.name}],
            "Statistic": "Average",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 1.0,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "missing",
            "AlarmActions": [policy_arn],
        }

    def _target(self) -> dict[str, Any]:
        return {
            "ServiceNamespace": "sagemaker",
            "ResourceId": self.resource,
            "ScalableDimension": DIMENSION,
        }

    def _container(self) -> dict[str, Any]:
        return {
            "Image": self._options.image,
            "Mode": "SingleModel",
            "Environment": self.environment,
        }

    def _variant(self) -> dict[str, Any]:
        return {
            "VariantName": VARIANT,
            "InstanceType": self._options.instance_type,
            "InitialInstanceCount": max(1, self._options.min),
            "ContainerStartupHealthCheckTimeoutInSeconds": START_SECONDS,
        }

    def _asynchronous(self) -> dict[str, Any]:
        if not self._options.is_async:
            return {}
        return {
            "AsyncInferenceConfig": {
                "ClientConfig": {"MaxConcurrentInvocationsPerInstance": self._options.slots},
                "OutputConfig": {"S3OutputPath": self._options.output},
            }
        }

    def _metric(self) -> dict[str, Any]:
        if not self._options.is_async:
            kind = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
            return {"PredefinedMetricSpecification": {"PredefinedMetricType": kind}}
        return {
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Dimensions": [{"Name": "EndpointName", "Value": self._options.name}],
                "Statistic": "Average",
            }
        }
