"""Checks of the services around: the database, the bucket and the ports."""

from __future__ import annotations

import time
from collections.abc import Iterator

from handlers.doctor.finding import Finding
from handlers.doctor.plan import ServerPlan
from handlers.job_api.packages import require_database_packages
from musicgen.errors import (
    DatabaseUnavailable,
    MissingDependency,
    SettingsError,
    UploadFailed,
)
from musicgen.errors.counts import format_count
from musicgen.net.listen import bind_sockets
from musicgen.settings import RemoteTokens
from musicgen.storage.bucket_probe import BucketFacts, probe_bucket

_PAUSE_SECONDS = 1.0


def check_database(plan: ServerPlan, wait_seconds: float = 0.0) -> Iterator[Finding]:
    """Log in to the database, waiting for it at most `wait_seconds`.

    Raises: `SettingsError`, `DatabaseTooNew`, `DatabaseUnavailable`.
    """
    try:
        require_database_packages("the job API", plan.api.database_url)
    except MissingDependency:
        # The check of the packages names it.
        yield Finding("database", "warning", "not checked without the packages of the job API.")
        return
    from handlers.job_api.store.reachability import wait_for_database

    url = plan.api.database_url
    if url is None:
        yield Finding("database", "ok", f"an embedded PostgreSQL in {plan.api.data_dir}")
        return
    facts = wait_for_database(url, wait_seconds)
    schema = {None: "empty: the first server makes the tables", 0: "schema up to date"}.get(
        facts.pending, f"{format_count(facts.pending or 0, 'migration')} to run by the first server"
    )
    yield Finding("database", "ok", f"PostgreSQL {facts.version} at {facts.place}, {schema}")


def check_bucket(plan: ServerPlan, wait_seconds: float = 0.0) -> Iterator[Finding]:
    """Write, read and delete an object, waiting for the bucket at most `wait_seconds`.

    Raises: `BucketRefused`, `UploadFailed`, `MissingDependency`.
    """
    bucket = plan.settings.bucket
    if bucket.name is None:
        yield Finding("bucket", "ok", "none: clips go to the data folder")
        return
    facts = _wait_for_bucket(plan, wait_seconds)
    for lack in facts.lacks:
        yield Finding("bucket", "warning", f"{facts.place}: {lack}.")
    if not facts.lacks:
        yield Finding("bucket", "ok", f"{facts.place} takes, gives and deletes a file")


def check_remote(plan: ServerPlan) -> Iterator[Finding]:
    """Check the token of the remote deployment, without a request. Raises: `SettingsError`."""
    remote, tokens = plan.settings.remote, RemoteTokens.from_env()
    needed = {
        "replicate": ("REPLICATE_API_TOKEN", tokens.replicate),
        "runpod": ("RUNPOD_API_KEY", tokens.runpod),
    }
    variable, token = needed.get(remote.target or "", ("", ""))
    if token is None:
        raise SettingsError(variable, f"must be set when MUSICGEN_REMOTE_TARGET is {remote.target}")
    if remote.target is None:
        problem = "must be set for a relay"
        raise SettingsError("MUSICGEN_REMOTE_TARGET", problem)
    yield Finding("remote deployment", "ok", remote.label)


def check_ports(plan: ServerPlan) -> Iterator[Finding]:
    """Bind the port of the API and those of the workers' metrics, and release them again.

    Raises: `SettingsError` for a port in use.
    """
    places = [("--port", plan.host, plan.port)] if plan.has_api and not plan.is_supervised else []
    metrics = [("MUSICGEN_METRICS_PORT", plan.api.metrics_host, p) for p in plan.metrics_ports]
    for variable, host, port in [*places, *metrics]:
        for listener in bind_sockets(host, port, variable):
            listener.close()
        yield Finding("ports", "ok", f"{host}:{port} is free")


def _wait_for_bucket(plan: ServerPlan, seconds: float) -> BucketFacts:
    end = time.monotonic() + seconds
    while True:
        try:
            return probe_bucket(plan.settings.bucket)
        except UploadFailed:
            if time.monotonic() + _PAUSE_SECONDS > end:
                raise
        time.sleep(_PAUSE_SECONDS)


PASSING = (DatabaseUnavailable, UploadFailed)
"""Faults that may end by themselves: the start is worth repeating."""
