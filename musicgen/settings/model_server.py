"""Settings of the model server: variables of the platform that started it, and limits of calls."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from musicgen.settings.declaration import check_settings, read_variables, setting

Platform = Literal["sagemaker", "vertex", "cloudrun", "container"]
PLATFORMS: tuple[Platform, ...] = ("sagemaker", "vertex", "cloudrun", "container")
_ROUTE = r"/[A-Za-z0-9._~:/-]*"


@dataclass(frozen=True)
class PlatformLimits:
    """Limits of one platform, with the sources in docs/platforms.md.

    `answer_bytes`: longest answer. `stop_seconds`: time after SIGTERM, ahead of SIGKILL.
    `call_seconds` and `stream_seconds`: time of a call, and of live sound, until the platform hangs
    up.
    """

    answer_bytes: int
    stop_seconds: int
    call_seconds: int
    stream_seconds: int


LIMITS: Mapping[Platform, PlatformLimits] = {
    "sagemaker": PlatformLimits(6_291_456, 25, 60, 480),
    "vertex": PlatformLimits(1_500_000, 8, 60, 3600),
    "cloudrun": PlatformLimits(32 * 2**20, 8, 3600, 3600),
    "container": PlatformLimits(32 * 2**20, 8, 3600, 3600),
}
LONGEST_SECONDS = 3600
"""Longest call of a batch transform."""
ANSWER_SECONDS = 3
"""Time kept for the way of an answer, ahead of the platform's hanging up."""


@dataclass(frozen=True)
class ModelServerSettings:
    """Settings of the model server."""

    platform_name: str = setting(
        "MUSICGEN_PLATFORM",
        "text",
        "auto",
        choices=("auto", *PLATFORMS),
        help="Platform of the model server, for its limits. `auto` finds it by the platform's own "
        "variables.",
    )
    answer_mb: float | None = setting(
        "MUSICGEN_ANSWER_MB",
        "number",
        least=0.1,
        most=1000,
        unit="megabytes",
        unset="6.29 on SageMaker, 1.5 on Vertex AI, else 33.5",
        help="Longest answer of the model server, in megabytes. Raise it for an asynchronous "
        "endpoint, a batch transform or a dedicated endpoint.",
    )
    call_seconds_given: float | None = setting(
        "MUSICGEN_CALL_SECONDS",
        "number",
        least=1,
        most=24 * 3600,
        unit="seconds",
        unset="57 on SageMaker and Vertex AI, else 3597; live sound: 477 on SageMaker, else 3597",
        help="Longest time of one call to the model server, in seconds, its wait and its upload "
        "included. Raise it for an asynchronous endpoint or a dedicated endpoint.",
    )
    stop_seconds_given: int | None = setting(
        "MUSICGEN_STOP_SECONDS",
        "integer",
        least=2,
        most=3600,
        unit="seconds",
        unset="25 on SageMaker, else 8",
        help="Time for running calls of the model server after SIGTERM, in seconds.",
    )
    calls_waiting: int = setting(
        "MUSICGEN_CALLS_WAITING",
        "integer",
        16,
        least=0,
        most=1000,
        help="Number of calls that wait for a slot of the model server. Further ones get 503.",
    )
    health_route: str | None = setting(
        "AIP_HEALTH_ROUTE",
        "text",
        pattern=_ROUTE,
        form="a path",
        help="Vertex AI's path for health checks, beside `/ping`.",
    )
    predict_route: str | None = setting(
        "AIP_PREDICT_ROUTE",
        "text",
        pattern=_ROUTE,
        form="a path",
        help="Vertex AI's path for predictions, beside `/invocations`.",
    )
    vertex_port: int | None = setting(
        "AIP_HTTP_PORT",
        "integer",
        least=1,
        most=65_535,
        unset="that of `--port`",
        help="Port of the model server on Vertex AI.",
    )
    storage_uri: str | None = setting(
        "AIP_STORAGE_URI",
        "text",
        help="Vertex AI's address (`gs://`) of the model's artifacts: a packed file or a folder in "
        "Hugging Face format. Replaces MUSICGEN_MODEL.",
    )
    storage_emulator: str | None = setting(
        "STORAGE_EMULATOR_HOST",
        "text",
        help="Address of an emulator of Google Cloud Storage, read without a token, as in Google's "
        "libraries.",
    )
    metadata_host: str = setting(
        "GCE_METADATA_HOST",
        "text",
        "metadata.google.internal",
        help="Host of Google's metadata server, which gives the token for AIP_STORAGE_URI.",
    )
    sagemaker_port: int | None = setting(
        "SAGEMAKER_BIND_TO_PORT",
        "integer",
        least=1,
        most=65_535,
        unset="that of `--port`",
        help="Port of the model server in a pipeline of SageMaker.",
    )
    cloudrun_port: int | None = setting(
        "PORT",
        "integer",
        least=1,
        most=65_535,
        unset="that of `--port`",
        help="Port of the model server on Cloud Run.",
    )
    cloudrun_service: str | None = setting(
        "K_SERVICE", "text", help="Name of the service, set by Cloud Run; read by `auto`."
    )
    is_batch: bool = setting(
        "SAGEMAKER_BATCH", "switch", False, help="Set by SageMaker in a batch transform."
    )

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def platform(self) -> Platform:
        """The platform, given or found."""
        if self.platform_name != "auto":
            return cast("Platform", self.platform_name)
        if self.vertex_port or self.predict_route:
            return "vertex"
        if self.cloudrun_service:
            return "cloudrun"
        return "sagemaker" if self.is_batch or self.sagemaker_port else "container"

    @property
    def port(self) -> int | None:
        """Port demanded by the platform, or None."""
        return self.vertex_port or self.sagemaker_port or self.cloudrun_port

    @property
    def answer_bytes(self) -> int:
        """Longest answer in bytes."""
        if self.answer_mb is None:
            return LIMITS[self.platform].answer_bytes
        return int(self.answer_mb * 1e6)

    @property
    def call_seconds(self) -> float:
        """Seconds from the arrival of a call to its answer."""
        limit = LIMITS[self.platform].call_seconds
        if self.platform == "sagemaker" and self.is_batch:
            limit = LONGEST_SECONDS
        return self.call_seconds_given or limit - ANSWER_SECONDS

    @property
    def stream_seconds(self) -> float:
        """Seconds from the arrival of a call to the end of its live sound."""
        return self.call_seconds_given or LIMITS[self.platform].stream_seconds - ANSWER_SECONDS

    @property
    def stop_seconds(self) -> int:
        """Seconds for running calls after SIGTERM."""
        return self.stop_seconds_given or LIMITS[self.platform].stop_seconds

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> ModelServerSettings:
        """Read the settings. Raises: `SettingsError` with the name of the variable."""
        return cls(**read_variables(cls, os.environ if env is None else env))
