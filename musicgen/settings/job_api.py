"""Settings of the job API: database, limits, access. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from musicgen.errors import SettingsError
from musicgen.settings.declaration import check_settings, declare, read_variables, setting
from musicgen.settings.settings import DATA_DIR, find_data_dir

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class ApiSettings:
    """Settings of the job API and its workers.

    `database_url` None: an embedded server. `data_dir`: by default the same folder wherever a
    command is started, see `find_data_dir`.
    """

    database_url: str | None = setting(
        "DATABASE_URL",
        "text",
        is_secret=True,
        unset="an embedded server in MUSICGEN_DATA_DIR",
        form="a URL",
        help="URL of the PostgreSQL database.",
    )
    data_dir: Path = declare(DATA_DIR)
    auth: str = setting(
        "MUSICGEN_API_AUTH",
        "text",
        "auto",
        choices=("auto", "on", "off"),
        help="API keys. `auto` requires them unless the API listens on loopback; `off` is allowed "
        "on loopback only.",
    )
    start_seconds: int = setting(
        "MUSICGEN_START_SECONDS",
        "integer",
        60,
        least=0,
        unit="seconds",
        help="Longest wait of a starting server, in seconds, for a database or a bucket not yet "
        "reachable. 0 does not wait.",
    )
    queue_max: int = setting(
        "MUSICGEN_QUEUE_MAX", "integer", 1000, least=1, help="Longest queue, in jobs."
    )
    jobs_per_key: int = setting(
        "MUSICGEN_JOBS_PER_KEY",
        "integer",
        50,
        least=1,
        help="Number of queued and running jobs of one key.",
    )
    rate_limit: str = setting(
        "MUSICGEN_RATE_LIMIT",
        "text",
        "240/minute",
        pattern=r"[1-9]\d*/(second|minute|hour|day)",
        form="N/second, N/minute, N/hour or N/day, such as 240/minute",
        help="Calls of one key or address, in each API process.",
    )
    streams_per_key: int = setting(
        "MUSICGEN_STREAMS_PER_KEY",
        "integer",
        100,
        least=1,
        help="Open streams of events and live audio, and calls that wait for their sound, of one "
        "key or address, in each API process.",
    )
    wait_seconds: int = setting(
        "MUSICGEN_WAIT_SECONDS",
        "integer",
        540,
        least=1,
        unit="seconds",
        help="Longest wait, in seconds, of a call that answers the sound itself. Proxies in front "
        "must be at least as patient.",
    )
    proxies: tuple[str, ...] = setting(
        "MUSICGEN_PROXIES",
        "networks",
        ("127.0.0.1/32", "::1/128"),
        help="Networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are true. Limits "
        "by address count all callers of another proxy together.",
    )
    attempts: int = setting(
        "MUSICGEN_ATTEMPTS",
        "integer",
        3,
        least=1,
        help="Number of times a job is started if its workers die.",
    )
    worker_timeout: int = setting(
        "MUSICGEN_WORKER_TIMEOUT",
        "integer",
        15,
        # Workers send heartbeats every three seconds.
        least=5,
        unit="seconds",
        help="Silence of a worker, in seconds, before its jobs go to other workers.",
    )
    body_seconds: int = setting(
        "MUSICGEN_BODY_SECONDS",
        "integer",
        60,
        least=1,
        unit="seconds",
        help="Longest time to receive the body of a call, in seconds; ten times as long for an "
        "upload.",
    )
    drain: int = setting(
        "MUSICGEN_DRAIN_SECONDS",
        "integer",
        600,
        least=1,
        unit="seconds",
        help="Longest time, in seconds, for a stopping worker to finish its jobs.",
    )
    retention_hours: int = setting(
        "MUSICGEN_RETENTION_HOURS",
        "integer",
        168,
        least=1,
        unit="hours",
        help="Lifetime of finished jobs and their files, in hours. Favourites stay.",
    )
    favourites_per_key: int = setting(
        "MUSICGEN_FAVOURITES_PER_KEY",
        "integer",
        100,
        least=0,
        help="Number of jobs that one key may keep as favourites, without an end.",
    )
    upload_hours: int = setting(
        "MUSICGEN_UPLOAD_HOURS",
        "integer",
        24,
        least=1,
        unit="hours",
        help="Lifetime of uploads, in hours.",
    )
    uploads_per_key: int = setting(
        "MUSICGEN_UPLOADS_PER_KEY",
        "integer",
        1000,
        least=1,
        help="Number of stored uploads of one key, sounds from within calls included.",
    )
    upload_mb_per_key: int = setting(
        "MUSICGEN_UPLOAD_MB_PER_KEY",
        "integer",
        10_000,
        least=1,
        unit="megabytes",
        help="Size of the stored uploads of one key, in megabytes.",
    )
    disk_reserve_mb: int = setting(
        "MUSICGEN_DISK_RESERVE_MB",
        "integer",
        500,
        least=0,
        unit="megabytes",
        help="Free disk space, in megabytes, that uploads leave to the database and the clips.",
    )
    price_per_minute: Decimal | None = setting(
        "MUSICGEN_PRICE_PER_MINUTE",
        "amount",
        least=0,
        most=1e9,
        unset="no price",
        unit="MUSICGEN_CURRENCY",
        help="Price of one minute of audio, in MUSICGEN_CURRENCY, shown to callers before they "
        "submit a job. The server bills nobody.",
    )
    price_currency: str = setting(
        "MUSICGEN_CURRENCY",
        "text",
        "USD",
        pattern=r"[A-Z]{3}",
        form="a code of ISO 4217, such as EUR",
        help="Currency of `MUSICGEN_PRICE_PER_MINUTE`.",
    )
    cors_origins: tuple[str, ...] = setting(
        "MUSICGEN_CORS_ORIGINS",
        "list",
        (),
        form="origins separated by commas",
        help="Other sites whose pages may call the API, such as `https://example.com`.",
    )
    webhook_networks: tuple[str, ...] = setting(
        "MUSICGEN_WEBHOOK_NETWORKS",
        "networks",
        (),
        help="Private networks allowed as a destination of webhooks.",
    )
    metrics_port: int | None = setting(
        "MUSICGEN_METRICS_PORT",
        "integer",
        least=1,
        most=65_535,
        unset="no server",
        help="Port of a process's own `/metrics`, `/healthz` and `/readyz`, for operators. The "
        "parts of `serve all` take this port (the API) and the next ones (workers, then the "
        "relay). An API with keys shows its metrics only there.",
    )
    metrics_host: str = setting(
        "MUSICGEN_METRICS_HOST",
        "text",
        "127.0.0.1",
        help="Address of that server; 0.0.0.0 in a container.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> ApiSettings:
        """Read the settings. Raises: `SettingsError` with the name of the variable."""
        env = os.environ if env is None else env
        return cls(**{**read_variables(cls, env), "data_dir": find_data_dir(env)})

    def needs_keys(self, host: str) -> bool:
        """Whether callers of an API listening on `host` need a key.

        Raises: `SettingsError` for keys turned off where others can call.
        """
        if self.auth == "off" and host not in LOOPBACK:
            raise SettingsError(
                "MUSICGEN_API_AUTH",
                f"cannot be off on {host}",
                advice=f"Others could call it: use --host {LOOPBACK[0]} or turn keys on.",
            )
        return self.auth == "on" or (self.auth == "auto" and host not in LOOPBACK)


@dataclass(frozen=True)
class ClientSettings:
    """Settings of the command line as a client of the job API."""

    api_key: str | None = setting(
        "MUSICGEN_API_KEY",
        "text",
        is_secret=True,
        help="Key sent by the command line to a server with `--server`.",
    )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> ClientSettings:
        """Read the settings; an empty variable counts as unset."""
        return cls(**read_variables(cls, os.environ if env is None else env))


@dataclass(frozen=True)
class TracingSettings:
    """Settings of tracing, under OpenTelemetry's own variables."""

    endpoint: str | None = setting(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "text",
        fallback="OTEL_EXPORTER_OTLP_ENDPOINT",
        unset="no traces",
        form="a URL",
        help="URL of the collector for traces. Needs the extra `telemetry`.",
    )
    disabled: str = setting(
        "OTEL_SDK_DISABLED", "text", "false", help="Tracing is off if this is `true`."
    )
    service: str | None = setting(
        "OTEL_SERVICE_NAME", "text", unset="the command's name", help="Service name in traces."
    )

    @property
    def is_enabled(self) -> bool:
        """Whether the process sends traces."""
        return self.endpoint is not None and self.disabled.lower() != "true"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> TracingSettings:
        """Read the settings; an empty variable counts as unset."""
        return cls(**read_variables(cls, os.environ if env is None else env))


def extend_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with `variables`, for a child process."""
    return {**os.environ, **variables}
