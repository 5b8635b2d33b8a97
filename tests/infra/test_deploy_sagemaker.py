"""Deployment to SageMaker by the real boto3, which checks every call; moto answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from infra.deploy import sagemaker
from infra.deploy.__main__ import main
from infra.deploy.sagemaker_plan import SageMakerOptions, SageMakerPlan
from infra.deploy.target import CheckError, DeployError

REGION = "us-east-1"
REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/musicgen"
ROLE = "arn:aws:iam::123456789012:role/musicgen"


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the references of two images in ECR."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("AWS_REGION", REGION)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        ecr = boto3.client("ecr", region_name=REGION)
        ecr.create_repository(repositoryName="musicgen")
        yield [f"{REPOSITORY}@{_push(ecr, str(number))}" for number in range(2)]


def _push(ecr: Any, config: str) -> str:
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": {"digest": config}})
    image = ecr.put_image(repositoryName="musicgen", imageManifest=manifest, imageTag=config)
    return str(image["image"]["imageId"]["imageDigest"])


def _command(image: str, *more: str) -> list[str]:
    # moto knows no newer types.
    kind = ("--instance-type", "ml.g4dn.xlarge")
    return ["sagemaker", "music", "--image", image, "--role", ROLE, *kind, *more]


def _endpoint() -> dict[str, Any]:
    client = boto3.client("sagemaker", region_name=REGION)
    found: dict[str, Any] = client.describe_endpoint(EndpointName="music")
    return found


def _policies() -> dict[str, Any]:
    client = boto3.client("application-autoscaling", region_name=REGION)
    found = client.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    return {each["PolicyName"]: each for each in found}


def test_an_endpoint_is_made_scaled_and_left_alone_the_second_time(
    aws: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first = _command(aws[0], "--env", "MUSICGEN_MODEL=small", "--max", "5")
    assert main(first) == 0
    client = boto3.client("sagemaker", region_name=REGION)
    release = _endpoint()["EndpointConfigName"]
    model = client.describe_model(ModelName=release)
    environment = model["PrimaryContainer"]["Environment"]
    assert environment == {"MUSICGEN_MODEL": "small", "MUSICGEN_SLOTS": "4"}
    tracking = _policies()["music-load"]["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == 4
    capsys.readouterr()
    assert main(first) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_an_asynchronous_endpoint_scales_from_zero_by_an_alarm(aws: list[str]) -> None:
    output = "s3://music-out/answers"
    assert main(_command(aws[0], "--async", "--output", output)) == 0
    client = boto3.client("sagemaker", region_name=REGION)
    config = client.describe_endpoint_config(EndpointConfigName=_endpoint()["EndpointConfigName"])
    asynchronous = config["AsyncInferenceConfig"]
    assert asynchronous["OutputConfig"]["S3OutputPath"] == output
    scaler = boto3.client("application-autoscaling", region_name=REGION)
    targets = scaler.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert [(each["MinCapacity"], each["MaxCapacity"]) for each in targets] == [(0, 2)]
    alarms = boto3.client("cloudwatch", region_name=REGION).describe_alarms()["MetricAlarms"]
    [alarm] = [each for each in alarms if each["AlarmName"] == "music-from-zero"]
    assert alarm["MetricName"] == "HasBacklogWithoutCapacity"
    assert alarm["AlarmActions"] == [_policies()["music-from-zero"]["PolicyARN"]]


def test_a_rollback_updates_the_endpoint_and_waits_for_it(aws: list[str]) -> None:
    """moto cannot update an endpoint, so botocore's stub answers and checks both ways."""
    target = sagemaker.SageMaker(SageMakerOptions("music", region=REGION))
    client = target._client("sagemaker")
    with Stubber(client) as answers:
        answers.add_response("describe_endpoint", _describe("new", "InService"))
        answers.add_response(
            "update_endpoint",
            {"EndpointArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/music"},
            {
                "EndpointName": "music",
                "EndpointConfigName": "old",
                "RetainAllVariantProperties": True,
            },
        )
        answers.add_response("describe_endpoint", _describe("old", "InService"))
        for step in target.plan_steps("old"):
            step.run()
        answers.assert_no_pending_responses()


def _remove_all() -> None:
    """Take the endpoint down, as the commands of the removal do."""
    scaler = boto3.client("application-autoscaling", region_name=REGION)
    place = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/music/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    # AWS deletes the policies with their target; moto keeps them.
    for name in _policies():
        scaler.delete_scaling_policy(PolicyName=name, **place)
    scaler.deregister_scalable_target(**place)
    boto3.client("cloudwatch", region_name=REGION).delete_alarms(AlarmNames=["music-from-zero"])
    boto3.client("sagemaker", region_name=REGION).delete_endpoint(EndpointName="music")


def _list_alarms() -> list[str]:
    client = boto3.client("cloudwatch", region_name=REGION)
    return [each["AlarmName"] for each in client.describe_alarms()["MetricAlarms"]]


def test_a_removed_endpoint_comes_back_with_its_scaling(
    aws: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The slots are those of the release, also where the command does not name them."""
    more = ("--async", "--output", "s3://music/answers", "--slots", "6")
    assert main(_command(aws[0], *more)) == 0
    release, before = _endpoint()["EndpointConfigName"], _policies()
    _remove_all()
    assert (_policies(), _list_alarms()) == ({}, [])
    assert main(["sagemaker", "music", "--to", release]) == 2
    assert "add --async" in capsys.readouterr().err
    assert main(["sagemaker", "music", "--to", release, "--async"]) == 0
    assert _endpoint()["EndpointConfigName"] == release
    after, setting = _policies(), "TargetTrackingScalingPolicyConfiguration"
    assert set(after) == set(before) == {"music-load", "music-from-zero"}
    assert after["music-load"][setting] == before["music-load"][setting]
    assert after["music-load"][setting]["TargetValue"] == 6
    assert _list_alarms() == ["music-from-zero"]


def test_a_removed_real_time_endpoint_comes_back_with_an_instance(
    aws: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_command(aws[0], "--min", "1")) == 0
    release = _endpoint()["EndpointConfigName"]
    _remove_all()
    assert main(["sagemaker", "music", "--to", release, "--min", "0"]) == 2
    assert "--min 1" in capsys.readouterr().err and not _policies()
    assert main(["sagemaker", "music", "--to", release]) == 0
    assert set(_policies()) == {"music-load"}


def test_an_endpoint_that_fails_to_start_is_an_error(aws: list[str]) -> None:
    target = sagemaker.SageMaker(SageMakerOptions("music", region=REGION))
    with Stubber(target._client("sagemaker")) as answers:
        answers.add_response("describe_endpoint", _describe("new", "Failed"))
        with pytest.raises(DeployError, match="EndpointInService"):
            target._wait("endpoint_in_service")


@pytest.mark.parametrize(
    ("config", "status", "calls"),
    [
        ("new", "Creating", ["wait endpoint-in-service"]),
        ("new", "InService", []),
        ("old", "Updating", ["wait endpoint-in-service", "update_", "wait endpoint-in-service"]),
        (
            "new",
            "Failed",
            ["delete_", "wait endpoint-deleted", "create_", "wait endpoint-in-service"],
        ),
    ],
)
def test_an_interrupted_or_failed_run_is_taken_up_again(
    aws: list[str], config: str, status: str, calls: list[str]
) -> None:
    """A failed endpoint counted as deployed, so the same command said that nothing was to do."""
    target = sagemaker.SageMaker(SageMakerOptions("music", region=REGION))
    with Stubber(target._client("sagemaker")) as answers:
        answers.add_response("describe_endpoint", _describe(config, status))
        commands = [step.command for step in target.plan_steps("new")]
        answers.add_response("describe_endpoint", _describe(config, status))
        assert (target.find_current_release() is None) == (status == "Failed")
    assert len(commands) == len(calls)
    for command, part in zip(commands, calls, strict=True):
        assert part in command


def test_an_endpoint_between_two_releases_is_left_to_its_owner(aws: list[str]) -> None:
    """It still serves callers, so it must not be deleted as a failed one is."""
    target = sagemaker.SageMaker(SageMakerOptions("music", region=REGION))
    described = _describe("old", "UpdateRollbackFailed")
    with Stubber(target._client("sagemaker")) as answers:
        answers.add_response("describe_endpoint", described)
        assert target.find_current_release() == "old"
        answers.add_response("describe_endpoint", described)
        with pytest.raises(CheckError, match="still serves"):
            target.plan_steps("new")


def test_a_running_update_counts_as_its_goal(aws: list[str]) -> None:
    target = sagemaker.SageMaker(SageMakerOptions("music", region=REGION))
    pending = {"PendingDeploymentSummary": {"EndpointConfigName": "new"}}
    with Stubber(target._client("sagemaker")) as answers:
        answers.add_response("describe_endpoint", _describe("old", "Updating") | pending)
        [step] = target.plan_steps("new")
    assert "wait endpoint-in-service" in step.command


def test_an_unknown_profile_is_listed_with_all_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.delenv("AWS_REGION", raising=False)
    command = ["sagemaker", "music", "--role", "ARN", "--async", "--output", "s3://BUCKET/answers"]
    assert main([*command, "--dry-run"]) == 2
    out = capsys.readouterr().out
    assert "NO  boto3: AWS: The config profile (no-such-profile) could not be found." in out
    for name in ("region", "AWS credentials", "image", "role", "output"):
        assert f"NO  {name}: " in out


def test_half_a_pair_of_keys_is_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "half-of-it")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    assert main(["sagemaker", "music", "--dry-run"]) == 2
    out = capsys.readouterr().out
    assert "NO  AWS credentials: AWS: Partial credentials found" in out
    assert "NO  image: " in out


def _describe(config: str, status: str) -> dict[str, Any]:
    return {
        "EndpointName": "music",
        "EndpointArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/music",
        "EndpointConfigName": config,
        "EndpointStatus": status,
        "CreationTime": 0,
        "LastModifiedTime": 0,
    }


def test_an_image_that_is_not_in_ecr_is_named_before_any_change(
    aws: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_command(f"{REPOSITORY}@sha256:{'9' * 64}")) == 2
    assert "NO  image in ECR" in capsys.readouterr().out
    assert boto3.client("sagemaker", region_name=REGION).list_models()["Models"] == []


def test_a_dry_run_shows_the_calls_and_no_secret(
    aws: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "HF_TOKEN=secret-value"
    assert main(_command(aws[0], "--env", secret, "--dry-run")) == 0
    out = capsys.readouterr().out
    for word in ("create_model", "create_endpoint_config", "create_endpoint", "put_scaling_policy"):
        assert f"would run: sagemaker.{word}" in out or f"autoscaling.{word}" in out
    assert "secret-value" not in out
    assert boto3.client("sagemaker", region_name=REGION).list_models()["Models"] == []


def test_every_missing_thing_is_listed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert main(["sagemaker", "music", "--async", "--min", "3", "--dry-run"]) == 2
    out = capsys.readouterr().out
    for name in ("region", "AWS credentials", "image", "role", "output", "instances"):
        assert f"NO  {name}: " in out


def test_a_real_time_endpoint_keeps_an_instance(
    aws: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_command(aws[0], "--min", "0")) == 2
    assert "add --min 1, or --async" in capsys.readouterr().out


def test_an_unknown_instance_type_is_refused_without_credentials(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert main(["sagemaker", "music", "--instance-type", "ml.g99.xlarge", "--dry-run"]) == 2
    assert "NO  instance type: ml.g99.xlarge" in capsys.readouterr().out
    assert main(["sagemaker", "music", "--dry-run"]) == 2
    assert "ok  instance type: ml.g6.xlarge" in capsys.readouterr().out


def test_names_are_within_sagemaker_s_limit() -> None:
    options = SageMakerOptions("m" * 63)
    assert len(SageMakerPlan(options).release) == 63
