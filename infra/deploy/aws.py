"""AWS's library as a deployment uses it: a session, its credentials, and errors in words."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from infra.deploy.target import Check, DeployError

IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[a-z0-9._/-]+)@(?P<digest>sha256:[0-9a-f]{64})$"
)
"""Reference of an image in ECR by its digest."""
_MISSING = ("Could not find", "does not exist", "NotFound", "not found")


def open_session(region: str | None) -> tuple[Any, str]:
    """Return a session of boto3 and "", or None and the reason, which is "" without boto3."""
    if importlib.util.find_spec("boto3") is None:
        return None, ""
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.Session(region_name=region or os.environ.get("AWS_REGION")), ""
    except BotoCoreError as error:
        return None, f"AWS: {error}. Correct AWS_PROFILE, or run `aws configure`."


def check_credentials(session: Any, region: str | None) -> Check:
    """Check the credentials: whether there are any, and whose they are."""
    name = "AWS credentials"
    if session is None:
        return Check(name, False, "not checked without a session of boto3")
    try:
        credentials = call(session.get_credentials)
    except DeployError as error:
        return Check(name, False, str(error))
    if credentials is None:
        return Check(name, False, "none: run `aws configure`, or set AWS_ACCESS_KEY_ID and so on")
    try:
        identity = call(
            session.client("sts", region_name=region or "us-east-1").get_caller_identity
        )
    except DeployError as error:
        return Check(name, False, str(error))
    return Check(name, True, str(identity["Arn"]))


def call(method: Callable[..., Any], **arguments: Any) -> Any:
    """Call a method of boto3. Raises: `DeployError` with AWS's own words."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return method(**arguments)
    except (BotoCoreError, ClientError) as error:
        raise DeployError(f"AWS: {' '.join(str(error).split())}") from error


def list_instance_types() -> Sequence[str]:
    """Return the instance types that boto3 knows for SageMaker. A client would want credentials."""
    from botocore.session import get_session

    shape = get_session().get_service_model("sagemaker").shape_for("ProductionVariantInstanceType")
    types: Sequence[str] = shape.enum
    return types


def is_missing(error: DeployError) -> bool:
    """Return whether AWS has no such object. SageMaker reports this as an invalid request."""
    return any(word in str(error) for word in _MISSING)
