"""How the job API is run: its database, its limits, who may ask. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from musicgen.errors import SettingsError
from musicgen.settings.settings import Variables, check_choice, check_network

AUTH = ("auto", "on", "off")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_RATE = re.compile(r"[1-9]\d*/(second|minute|hour|day)")


@dataclass(frozen=True)
class ApiSettings:
    """How the job API is run.

    `database_url`: None for the embedded server in `data_dir`. `auth`: auto asks for API keys
    unless the API listens on this machine alone. `queue_max`: jobs that may wait at all,
    `jobs_per_key`: that one key may have waiting or running. `rate_limit`: calls of one key or
    address, such as 120/minute. `attempts`: how often a job is begun whose worker dies.
    `worker_timeout`: seconds without a sign of a worker until its jobs are given to others.
    `body_seconds`: that a call's body may take to come, an upload ten times as long.
    `drain`: seconds that a worker which is told to stop may take for its jobs. `retention_hours`:
    how long finished jobs and their files are kept, `upload_hours`: uploads. `cors_origins`: sites
    whose pages may call. `webhook_networks`: private networks that webhooks may go to all the same.
    `metrics_port`, `metrics_host`: where a worker or relay tells its metrics and health, None for
    nowhere.
    """

    database_url: str | None = None
    data_dir: Path = Path("outputs")
    auth: str = "auto"
    queue_max: int = 1000
    jobs_per_key: int = 50
    rate_limit: str = "240/minute"
    attempts: int = 3
    worker_timeout: int = 15
    body_seconds: int = 60
    drain: int = 600
    retention_hours: int = 168
    upload_hours: int = 24
    cors_origins: tuple[str, ...] = ()
    webhook_networks: tuple[str, ...] = ()
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        check_choice("MUSICGEN_API_AUTH", self.auth, AUTH)
        if not _RATE.fullmatch(self.rate_limit):
            raise SettingsError("MUSICGEN_RATE_LIMIT", self.rate_limit, "such as 240/minute")
        for network in self.webhook_networks:
            check_network("MUSICGEN_WEBHOOK_NETWORKS", network)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> ApiSettings:
        """Raises: `SettingsError` naming the variable."""
        read = Variables(os.environ if env is None else env)
        return cls(
            database_url=read.text("DATABASE_URL"),
            data_dir=Path(read.text("MUSICGEN_DATA_DIR") or cls.data_dir),
            auth=read.text("MUSICGEN_API_AUTH") or cls.auth,
            queue_max=read.whole("MUSICGEN_QUEUE_MAX") or cls.queue_max,
            jobs_per_key=read.whole("MUSICGEN_JOBS_PER_KEY") or cls.jobs_per_key,
            rate_limit=read.text("MUSICGEN_RATE_LIMIT") or cls.rate_limit,
            attempts=read.whole("MUSICGEN_ATTEMPTS") or cls.attempts,
            worker_timeout=read.whole("MUSICGEN_WORKER_TIMEOUT") or cls.worker_timeout,
            body_seconds=read.whole("MUSICGEN_BODY_SECONDS") or cls.body_seconds,
            drain=read.whole("MUSICGEN_DRAIN_SECONDS") or cls.drain,
            retention_hours=read.whole("MUSICGEN_RETENTION_HOURS") or cls.retention_hours,
            upload_hours=read.whole("MUSICGEN_UPLOAD_HOURS") or cls.upload_hours,
            cors_origins=read.several("MUSICGEN_CORS_ORIGINS"),
            webhook_networks=read.several("MUSICGEN_WEBHOOK_NETWORKS"),
            metrics_port=read.whole("MUSICGEN_METRICS_PORT"),
            metrics_host=read.text("MUSICGEN_METRICS_HOST") or cls.metrics_host,
        )

    def needs_keys(self, host: str) -> bool:
        """Whether callers of an API that listens on `host` need a key.

        Raises: `SettingsError` for keys that are turned off where others can call.
        """
        if self.auth == "off" and host not in LOOPBACK:
            why = f"off only with --host {LOOPBACK[0]}: others could call {host}"
            raise SettingsError("MUSICGEN_API_AUTH", self.auth, why)
        return self.auth == "on" or (self.auth == "auto" and host not in LOOPBACK)


@dataclass(frozen=True)
class TracingSettings:
    """What OpenTelemetry's own variables say of whether and as whom a process sends traces."""

    wanted: bool
    service: str | None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> TracingSettings:
        read = Variables(os.environ if env is None else env)
        endpoint = read.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or read.text(
            "OTEL_EXPORTER_OTLP_ENDPOINT"
        )
        is_off = (read.text("OTEL_SDK_DISABLED") or "").lower() == "true"
        return cls(endpoint is not None and not is_off, read.text("OTEL_SERVICE_NAME"))


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """Of a process that is started with this one's environment and `variables`."""
    return {**os.environ, **variables}


def api_key(env: Mapping[str, str] | None = None) -> str | None:
    """The key that the client on the command line proves itself with, MUSICGEN_API_KEY."""
    return Variables(os.environ if env is None else env).text("MUSICGEN_API_KEY")
