"""Checks at the start of a server: it ends at once with one line if it cannot work."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from handlers.doctor.credential_checks import check_credentials
from handlers.doctor.extra_checks import check_packages
from handlers.doctor.finding import Finding
from handlers.doctor.folder_checks import check_folders
from handlers.doctor.machine_checks import resolve_device
from handlers.doctor.model_checks import check_model
from handlers.doctor.plan import ServerPlan
from handlers.doctor.service_checks import check_bucket, check_database, check_ports, check_remote
from musicgen.errors import DiskFull, UploadFailed
from musicgen.process.gpu import list_gpus

logger = logging.getLogger(__name__)


def check_start(plan: ServerPlan) -> None:
    """Run the checks needed by a server, the quick ones first, and log their warnings.

    Waits for database and bucket, for at most MUSICGEN_START_SECONDS together.
    Raises: `SettingsError`, `MissingDependency`, a `CheckpointError`, a `StorageError`,
    `DatabaseTooNew`; `DatabaseUnavailable` and `UploadFailed` for faults that may pass.
    """
    plan.api.needs_keys(plan.host)
    _log_warnings(check_packages(plan))
    _log_warnings(check_ports(plan))
    try:
        _log_warnings(check_folders(plan))
    except DiskFull as error:
        # The API's retention makes room again, and finished clips can still be fetched.
        if plan.part != "api" or plan.api.database_url is None:
            raise
        logger.warning("%s", error)
    if plan.generates:
        _log_warnings(check_credentials(plan))
        device = resolve_device(plan.settings, list_gpus())
        _log_warnings(check_model(plan.settings, device))
    if plan.relays:
        _log_warnings(check_remote(plan))
    end = time.monotonic() + plan.api.start_seconds
    _log_warnings(check_database(plan, plan.api.start_seconds))
    try:
        _log_warnings(check_bucket(plan, max(0.0, end - time.monotonic())))
    except UploadFailed as error:
        # An API without its bucket still takes jobs and tells their state.
        if plan.part != "api":
            raise
        logger.warning("%s", error)


def _log_warnings(findings: Iterable[Finding]) -> None:
    for finding in findings:
        if finding.state != "ok":
            logger.warning("%s: %s", finding.check, finding.text)
